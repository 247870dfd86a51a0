"""History of a queue, for one group: rewind the group, or replay messages to it while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgbus.adapter.address import Address
from msgbus.errors import ConfigurationError
from msgbus.failure.copies import replayed_copy
from msgbus.operations.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.envelope import Delivery
    from msgbus.connection import BrokerConnection
    from msgbus.errors import BrokerError

__all__ = ["History", "ReplayResult"]

PAGE_MESSAGES: Final = 100
"""Messages that are read and sent together."""


@dataclass(slots=True)
class ReplayResult:
    """Result of a replay."""

    taken: int = 0
    """Messages that were read from the history."""
    arrived: int = 0
    """Messages that the group's retry queue has confirmed."""
    refused: list[BrokerError] = field(default_factory=list["BrokerError"])
    """Why the replay stopped early."""

    @property
    def complete(self) -> bool:
        """Whether everything that was read has arrived."""
        return self.taken == self.arrived


class History:
    """History of one queue, for one group; ``Broker.history()`` makes it."""

    def __init__(self, connection: BrokerConnection, queue: str, group: str, clock: Callable[[], float]) -> None:
        self.address = Address(queue)
        self.group = group
        self._connection = connection
        self._clock = clock

    async def rewind(self, to: Position) -> None:
        """Make the group go on at another position. Other groups are not affected.

        The group must have no members meanwhile. Messages behind the position are delivered again; skipped messages
        are not delivered. Messages in the group's retry queues stay there.

        Args:
            to: ``"oldest"``, ``"newest"``, a time, or the ``origin`` of a message. On Kafka an origin
                (``purchases-0@17``) moves that partition only, and a number moves all partitions to that offset.

        Raises:
            GroupActive: The group has members; the text names them.
            QueueNotFound: The queue does not exist.
            ConfigurationError: The position is none that this server knows.
            Unsupported: The server keeps no history.
            BrokerUnavailable: The server did not answer within the deadline.
        """
        place = _checked(self.address, to)
        await self._connection.call(
            f"queue {self.address}, group {self.group}",
            lambda: self._connection.adapter.rewind(self.address, self.group, place),
        )

    async def replay(
        self,
        since: Position,
        until: Position | None = None,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> ReplayResult:
        """Replay messages of the history to the group, and to no other. The group may be running.

        The messages go through the group's first retry queue, with the same id, key and body, each as a first attempt.
        New messages are handled at the same time. A replay that is killed or refused has sent a part.

        Args:
            since: The first message: a position as in :meth:`rewind`.
            until: The end, exclusive; None is the newest message now.
            rate: Messages a second, at most; None is no limit.
            dry_run: Whether to only count.
            progress: Called with the number of further messages that have arrived.

        Returns:
            Numbers of messages: read, and arrived.

        Raises:
            QueueNotFound: The queue does not exist.
            ConfigurationError: A position is none that this server knows, or ``rate`` is out of range.
            Unsupported: The server keeps no history.
            BrokerUnavailable: The server did not answer within the deadline.
        """
        if rate is not None and rate <= 0:
            raise ConfigurationError(f"queue {self.address}: rate must be above 0, not {rate:g}")
        begin, end = _checked(self.address, since), None if until is None else _checked(self.address, until)
        replayed, limiter = ReplayResult(), RateLimiter(rate)
        reader = await self._connection.call(
            f"queue {self.address}",
            lambda: self._connection.adapter.open_history(self.address, self.group, begin, end),
        )
        try:
            while not replayed.refused and (page := await reader.read(PAGE_MESSAGES if rate is None else 1)):
                replayed.taken += len(page)
                if not dry_run:
                    await limiter.wait(len(page))
                    progress(await self._send(page, replayed))
        finally:
            await reader.close()
        return replayed

    async def _send(self, page: Sequence[Delivery], replayed: ReplayResult) -> int:
        results = await self._connection.publish([replayed_copy(one.message, self._clock()) for one in page])
        replayed.refused += [one for one in results if one is not None]
        arrived = results.count(None)
        replayed.arrived += arrived
        return arrived


def _checked(address: Address, position: object) -> Position:
    if isinstance(position, datetime):
        return position if position.tzinfo else position.replace(tzinfo=UTC)
    if not isinstance(position, str) or not position:
        raise ConfigurationError(
            f"queue {address}: a position is 'oldest', 'newest', a datetime or a message's origin, not {position!r}"
        )
    return position
