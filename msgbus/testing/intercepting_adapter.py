"""An adapter that is watched: what passes the boundary can be recorded, and faults be put there.

It stands between the core and another adapter. Every call passes a point before it and one after it, and each of a
session's events passes one; a watch is called there. It may note what passes, raise what a server would (then the call
is not made, or its answer is lost), or end the process. The core and the adapter inside know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, ClassVar

from msgbus.adapter import Adapter, Capabilities, Consumer, DeadLetterStore
from msgbus.adapter.options import AdapterOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import HistoryReader, Lag, Position, QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.diagnostics import Diagnosis
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.errors import BrokerError

__all__ = ["Passing", "Point", "WatchedAdapter"]


class Point(Enum):
    """Where something passes."""

    CREATED = auto()
    PUBLISHING = auto()
    PUBLISHED = auto()
    SUBSCRIBED = auto()
    RECEIVED = auto()
    ACKNOWLEDGING = auto()
    ACKNOWLEDGED = auto()
    BEGUN = auto()
    ENDING = auto()
    """A session's drain begins."""
    ENDED = auto()
    """The drain is over; what it acknowledged is flushed now."""
    LOST = auto()
    TAKEN = auto()
    REMOVING = auto()
    REMOVED = auto()
    """Dead letters were taken, and deleted for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What passes a point; fields that have nothing to do with it are empty."""

    point: Point
    group: str = ""
    specs: Sequence[QueueSpec] = ()
    addresses: Sequence[Address] = ()
    messages: Sequence[Outgoing] = ()
    verdicts: Sequence[BrokerError | None] = ()
    deliveries: Sequence[Delivery] = ()
    sessions: Sequence[Hashable] = ()


class WatchedAdapter(Adapter):
    """``inner``, watched."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions

    def __init__(self, inner: Adapter, watch: Callable[[Passing], None]) -> None:
        self.inner = inner
        self.extend_interval_seconds = inner.extend_interval_seconds
        self.change_delay_seconds = inner.change_delay_seconds
        self.supported_starts = inner.supported_starts
        self._watch = watch

    async def connect(self) -> None:
        """See Adapter."""
        await self.inner.connect()

    async def ping(self) -> str:
        """See Adapter."""
        return await self.inner.ping()

    async def diagnose(self) -> Diagnosis:
        """See Adapter."""
        return await self.inner.diagnose()

    async def close(self) -> None:
        """See Adapter."""
        await self.inner.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """See Adapter."""
        await self.inner.create_queues(specs)
        self._watch(Passing(point=Point.CREATED, specs=specs))

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter."""
        self._watch(Passing(point=Point.PUBLISHING, messages=messages))
        verdicts = await self.inner.publish(messages, timeout)
        self._watch(Passing(point=Point.PUBLISHED, messages=messages, verdicts=verdicts))
        return verdicts

    async def lag(self, address: Address, group: str) -> Lag:
        """See Adapter."""
        return await self.inner.lag(address, group)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """See Adapter."""
        watched = WatchedListener(listener, group, self._watch)
        return WatchedConsumer(await self.inner.open_consumer(group, watched), group, self._watch)

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """See Adapter."""
        return WatchedDeadLetterStore(await self.inner.open_dead_letters(address), address.group, self._watch)

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """See Adapter."""
        await self.inner.rewind(address, group, to)

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """See Adapter."""
        return await self.inner.open_history(address, group, since, until)


@dataclass(frozen=True, slots=True)
class WatchedListener:
    """The core's side of a session, watched."""

    inner: SessionListener
    group: str
    watch: Callable[[Passing], None]

    def begun(self, session: Hashable) -> None:
        """See SessionListener."""
        self._passing(Point.BEGUN, (session,))
        self.inner.begun(session)

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """See SessionListener."""
        self._passing(Point.ENDING, sessions)
        await self.inner.ending(sessions, budget)
        self._passing(Point.ENDED, sessions)

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """See SessionListener."""
        self._passing(Point.LOST, sessions)
        self.inner.lost(sessions)

    def _passing(self, point: Point, sessions: Sequence[Hashable]) -> None:
        self.watch(Passing(point=point, group=self.group, sessions=sessions))


class WatchedConsumer(Consumer):
    """A general consumer, watched."""

    def __init__(self, inner: Consumer, group: str, watch: Callable[[Passing], None]) -> None:
        self._inner = inner
        self._group = group
        self._watch = watch

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> AbstractSet[Address]:
        """See Consumer."""
        missing = await self._inner.subscribe(limits, newest)
        there = [address for address in limits if address not in missing]
        self._watch(Passing(point=Point.SUBSCRIBED, group=self._group, addresses=there))
        return missing

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """See Consumer."""
        deliveries = await self._inner.receive(capacity, timeout)
        self._passing(Point.RECEIVED, deliveries)
        return deliveries

    def wake(self) -> None:
        """See Consumer."""
        self._inner.wake()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Consumer."""
        self._passing(Point.ACKNOWLEDGING, deliveries)
        await self._inner.acknowledge(deliveries)
        self._passing(Point.ACKNOWLEDGED, deliveries)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See Consumer."""
        return await self._inner.extend(deliveries)

    def problem(self) -> str:
        """See Consumer."""
        return self._inner.problem()

    async def close(self, budget: float) -> None:
        """See Consumer."""
        await self._inner.close(budget)

    def _passing(self, point: Point, deliveries: Sequence[Delivery]) -> None:
        self._watch(Passing(point=point, group=self._group, deliveries=deliveries))


class WatchedDeadLetterStore(DeadLetterStore):
    """A dead-letter queue in a person's hands, watched. What was taken and not removed is lost with its closing."""

    def __init__(self, inner: DeadLetterStore, group: str, watch: Callable[[Passing], None]) -> None:
        self._inner = inner
        self._group = group
        self._watch = watch
        self._sessions: dict[Hashable, None] = {}

    async def count(self) -> tuple[int, bool]:
        """See DeadLetterStore."""
        return await self._inner.count()

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore."""
        return await self._inner.look(after, limit)

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore."""
        letters, cursor = await self._inner.take(after, limit)
        self._sessions |= {letter.session: None for letter in letters}
        self._passing(Point.TAKEN, letters)
        return letters, cursor

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See DeadLetterStore."""
        self._passing(Point.REMOVING, letters)
        await self._inner.remove(letters)
        self._passing(Point.REMOVED, letters)

    async def close(self) -> None:
        """See DeadLetterStore."""
        await self._inner.close()
        self._watch(Passing(point=Point.ENDED, group=self._group, sessions=list(self._sessions)))

    def _passing(self, point: Point, letters: Sequence[Delivery]) -> None:
        self._watch(Passing(point=point, group=self._group, deliveries=letters))
