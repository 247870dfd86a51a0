"""Refused queues: queues that the server does not let a group consume, and when each is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgbus.backoff import Backoff
from msgbus.errors import QueueNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from msgbus.adapter.address import Address
    from msgbus.errors import BrokerError

__all__ = ["MISSING_QUEUE_CHECK_SECONDS", "RefusedQueues"]

MISSING_QUEUE_CHECK_SECONDS: Final = 10.0
"""Seconds between two checks whether a missing queue exists now."""
STABLE_AFTER_SECONDS: Final = 10.0
"""Seconds of consuming after which the next refusal of a queue counts as the first: its backoff starts small again."""
_BACKOFF: Final = Backoff(first=0.1, most=30.0)


@dataclass(slots=True)
class _Refusal:
    error: BrokerError
    failures: int
    retry_at: float
    consumed_since: float | None = None
    """When the queue was consumed again; None while it is refused."""


class RefusedQueues:
    """The queues of one group that are refused, each with the error that says why.

    A queue that is consumed again is remembered for ``STABLE_AFTER_SECONDS``, so that the backoff of one that is
    refused at every read grows.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._refusals: dict[Address, _Refusal] = {}

    def error(self, address: Address) -> BrokerError | None:
        """Return why the queue is refused; None if it is not."""
        refusal = self._refusals.get(address)
        return None if refusal is None or refusal.consumed_since is not None else refusal.error

    def resting(self, address: Address, now: float) -> bool:
        """Return whether the queue is refused and its next try is not due yet."""
        return self.error(address) is not None and self._refusals[address].retry_at > now

    def refuse(self, address: Address, error: BrokerError, now: float) -> bool:
        """Record a refusal.

        Returns:
            Whether it is news: the queue was consumed before, or was refused for another reason.
        """
        before = self._refusals.get(address)
        if (
            before is not None
            and before.consumed_since is not None
            and now - before.consumed_since > STABLE_AFTER_SECONDS
        ):
            before = None
        failures = 1 if before is None else before.failures + 1
        if isinstance(error, QueueNotFound):
            wait = MISSING_QUEUE_CHECK_SECONDS
        else:
            wait = _BACKOFF.wait(failures, self._random.random())
        self._refusals[address] = _Refusal(error, failures, now + wait)
        return before is None or str(before.error) != str(error)

    def accept(self, address: Address, now: float) -> BrokerError | None:
        """Record that the queue is consumed. Return why it was refused until now, if it was."""
        refusal = self._refusals.get(address)
        if refusal is None or refusal.consumed_since is not None:
            return None
        refusal.consumed_since = now
        return refusal.error

    def retry_all(self, now: float) -> None:
        """Make every next try due."""
        for refusal in self._refusals.values():
            refusal.retry_at = min(refusal.retry_at, now)

    def keep(self, addresses: Iterable[Address]) -> None:
        """Forget every queue that is not one of ``addresses``."""
        kept = set(addresses)
        self._refusals = {address: refusal for address, refusal in self._refusals.items() if address in kept}

    def next_try(self) -> float:
        """Return the event loop's time of the next try; infinity if no queue is refused."""
        waiting = (one.retry_at for one in self._refusals.values() if one.consumed_since is None)
        return min(waiting, default=float("inf"))
