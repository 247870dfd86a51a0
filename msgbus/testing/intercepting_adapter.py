"""Intercepting adapter: records what passes the adapter's boundary, and injects faults there.

It wraps another adapter. Calls pass a point before and after they are made, and each event of a session passes one. At
every point a watch is called, which may:

- record the messages or sessions that pass,
- raise an error that a server could cause: before a call the call is not made, after it the answer is lost,
- end the process.

Neither the core nor the wrapped adapter notices.
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
    """A point of the boundary."""

    CREATED = auto()
    PUBLISHING = auto()
    PUBLISHED = auto()
    SUBSCRIBED = auto()
    RECEIVED = auto()
    ACKNOWLEDGING = auto()
    ACKNOWLEDGED = auto()
    BEGUN = auto()
    ENDING = auto()
    """The drain of a session begins."""
    ENDED = auto()
    """The drain is over; the adapter flushes its acknowledgements next."""
    LOST = auto()
    TAKEN = auto()
    REMOVING = auto()
    REMOVED = auto()
    """TAKEN: dead letters were locked. REMOVING and REMOVED: before and after they are deleted for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What passes a point; fields that do not apply to the point are empty."""

    point: Point
    group: str = ""
    specs: Sequence[QueueSpec] = ()
    addresses: Sequence[Address] = ()
    messages: Sequence[Outgoing] = ()
    verdicts: Sequence[BrokerError | None] = ()
    deliveries: Sequence[Delivery] = ()
    sessions: Sequence[Hashable] = ()


class WatchedAdapter(Adapter):
    """``inner`` with ``watch`` called at every point."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions

    def __init__(self, inner: Adapter, watch: Callable[[Passing], None]) -> None:
        self.inner = inner
        self.extend_interval_seconds = inner.extend_interval_seconds
        self.change_delay_seconds = inner.change_delay_seconds
        self.supported_starts = inner.supported_starts
        self._watch = watch

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`."""
        await self.inner.connect()

    async def ping(self) -> str:
        """Implement :meth:`Adapter.ping`."""
        return await self.inner.ping()

    async def diagnose(self) -> Diagnosis:
        """Implement :meth:`Adapter.diagnose`."""
        return await self.inner.diagnose()

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`."""
        await self.inner.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`."""
        await self.inner.create_queues(specs)
        self._watch(Passing(point=Point.CREATED, specs=specs))

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Implement :meth:`Adapter.publish`."""
        self._watch(Passing(point=Point.PUBLISHING, messages=messages))
        verdicts = await self.inner.publish(messages, timeout)
        self._watch(Passing(point=Point.PUBLISHED, messages=messages, verdicts=verdicts))
        return verdicts

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`."""
        return await self.inner.lag(address, group)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        watched = WatchedListener(listener, group, self._watch)
        return WatchedConsumer(await self.inner.open_consumer(group, watched), group, self._watch)

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        return WatchedDeadLetterStore(await self.inner.open_dead_letters(address), address.group, self._watch)

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Implement :meth:`Adapter.rewind`."""
        await self.inner.rewind(address, group, to)

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """Implement :meth:`Adapter.open_history`."""
        return await self.inner.open_history(address, group, since, until)


@dataclass(frozen=True, slots=True)
class WatchedListener:
    """The core's session listener with a watch."""

    inner: SessionListener
    group: str
    watch: Callable[[Passing], None]

    def begun(self, session: Hashable) -> None:
        """Implement :meth:`SessionListener.begun`."""
        self._passing(Point.BEGUN, (session,))
        self.inner.begun(session)

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """Implement :meth:`SessionListener.ending`."""
        self._passing(Point.ENDING, sessions)
        await self.inner.ending(sessions, budget)
        self._passing(Point.ENDED, sessions)

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """Implement :meth:`SessionListener.lost`."""
        self._passing(Point.LOST, sessions)
        self.inner.lost(sessions)

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        """Implement :meth:`SessionListener.queue_refused`."""
        self.inner.queue_refused(address, error)

    def _passing(self, point: Point, sessions: Sequence[Hashable]) -> None:
        self.watch(Passing(point=point, group=self.group, sessions=sessions))


class WatchedConsumer(Consumer):
    """A consumer with a watch."""

    def __init__(self, inner: Consumer, group: str, watch: Callable[[Passing], None]) -> None:
        self._inner = inner
        self._group = group
        self._watch = watch

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`."""
        refused = await self._inner.subscribe(limits, newest)
        there = [address for address in limits if address not in refused]
        self._watch(Passing(point=Point.SUBSCRIBED, group=self._group, addresses=there))
        return refused

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        deliveries = await self._inner.receive(capacity, timeout)
        self._passing(Point.RECEIVED, deliveries)
        return deliveries

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._inner.wake()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`."""
        self._passing(Point.ACKNOWLEDGING, deliveries)
        await self._inner.acknowledge(deliveries)
        self._passing(Point.ACKNOWLEDGED, deliveries)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`."""
        return await self._inner.extend(deliveries)

    def problem(self, address: Address) -> str:
        """Implement :meth:`Consumer.problem`."""
        return self._inner.problem(address)

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        await self._inner.close(budget)

    def _passing(self, point: Point, deliveries: Sequence[Delivery]) -> None:
        self._watch(Passing(point=point, group=self._group, deliveries=deliveries))


class WatchedDeadLetterStore(DeadLetterStore):
    """A dead-letter store with a watch. Dead letters that were taken and not removed go back when it is closed."""

    def __init__(self, inner: DeadLetterStore, group: str, watch: Callable[[Passing], None]) -> None:
        self._inner = inner
        self._group = group
        self._watch = watch
        self._sessions: dict[Hashable, None] = {}

    async def count(self) -> tuple[int, bool]:
        """Implement :meth:`DeadLetterStore.count`."""
        return await self._inner.count()

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.look`."""
        return await self._inner.look(after, limit)

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.take`."""
        letters, cursor = await self._inner.take(after, limit)
        self._sessions |= {letter.session: None for letter in letters}
        self._passing(Point.TAKEN, letters)
        return letters, cursor

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Implement :meth:`DeadLetterStore.remove`."""
        self._passing(Point.REMOVING, letters)
        await self._inner.remove(letters)
        self._passing(Point.REMOVED, letters)

    async def close(self) -> None:
        """Implement :meth:`DeadLetterStore.close`."""
        await self._inner.close()
        self._watch(Passing(point=Point.ENDED, group=self._group, sessions=list(self._sessions)))

    def _passing(self, point: Point, letters: Sequence[Delivery]) -> None:
        self._watch(Passing(point=point, group=self._group, deliveries=letters))
