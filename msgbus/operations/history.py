"""What a queue has kept, for one group once more: the group is rewound, or a stretch is sent to it beside the rest."""

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
"""Messages read and sent at once."""


@dataclass(slots=True)
class ReplayResult:
    """What became of a replay."""

    taken: int = 0
    """Messages in the stretch, as far as it was read."""
    arrived: int = 0
    refused: list[BrokerError] = field(default_factory=list["BrokerError"])
    """Why it ended before the end of the stretch."""

    @property
    def complete(self) -> bool:
        """The whole stretch has arrived."""
        return self.taken == self.arrived


class History:
    """The history of one queue, for one group; Broker.history() makes it."""

    def __init__(self, link: BrokerConnection, queue: str, group: str, clock: Callable[[], float]) -> None:
        self.address = Address(queue)
        self.group = group
        self._connection = link
        self._clock = clock

    async def rewind(self, to: Position) -> None:
        """Have the group go on at ``to``: ``"oldest"``, ``"newest"``, a time, or the ``origin`` of a message.

        The group may have no members meanwhile, and no other group notices. What was handled since comes again, what is
        skipped does not come; what waits in the group's retry queues stays there. On Kafka an origin
        (``purchases-0@17``) moves that partition only, and a number moves all of them to that offset. Raises
        GroupActive naming the members, QueueNotFound, ConfigurationError, BrokerUnavailable; Unsupported where the
        server keeps no history.
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
        """Send what was published from ``since`` up to ``until`` (exclusively; default: now) to the group once more.

        To this group and no other, which may be running: through its first retry queue, so with the same id, key and
        body, each as a first attempt, beside what is new. ``rate``: messages a second at most. ``dry_run``: only count.
        ``progress`` is told how many more have arrived. A replay that dies, or is refused, has sent a part. Raises
        QueueNotFound, ConfigurationError, BrokerUnavailable; Unsupported where the server keeps no history.
        """
        if rate is not None and rate <= 0:
            raise ConfigurationError(f"queue {self.address}: rate must be above 0, not {rate:g}")
        begin, end = _checked(self.address, since), None if until is None else _checked(self.address, until)
        account, pace = ReplayResult(), RateLimiter(rate)
        stretch = await self._connection.call(
            f"queue {self.address}",
            lambda: self._connection.adapter.open_history(self.address, self.group, begin, end),
        )
        try:
            while not account.refused and (page := await stretch.read(PAGE_MESSAGES if rate is None else 1)):
                account.taken += len(page)
                if not dry_run:
                    await pace.wait(len(page))
                    progress(await self._send(page, account))
        finally:
            await stretch.close()
        return account

    async def _send(self, page: Sequence[Delivery], account: ReplayResult) -> int:
        verdicts = await self._connection.publish([replayed_copy(one.message, self._clock()) for one in page])
        account.refused += [verdict for verdict in verdicts if verdict is not None]
        arrived = verdicts.count(None)
        account.arrived += arrived
        return arrived


def _checked(address: Address, position: object) -> Position:
    if isinstance(position, datetime):
        return position if position.tzinfo else position.replace(tzinfo=UTC)
    if not isinstance(position, str) or not position:
        raise ConfigurationError(
            f"queue {address}: a position is 'oldest', 'newest', a datetime or a message's origin, not {position!r}"
        )
    return position
