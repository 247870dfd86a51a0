"""Memory that shares as Kafka does: partitions, generations, positions that are committed, a fence for the late."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary
from zlib import crc32

from msgbus.adapter import Consumer
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.adapter.timeouts import wait_for_event
from msgbus.adapter.url import BrokerURL
from msgbus.adapter.watermark import Watermark
from msgbus.errors import BrokerUnavailable, queue_not_found
from msgbus_memory import MemoryAdapter
from msgbus_memory.options import MemoryOptions
from msgbus_memory.server import server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus.errors import BrokerError
    from msgbus_memory.server import Entry, Queue

__all__ = ["PartitionedAdapter", "PartitionedConsumer", "partitioned"]

WIDTH: Final = 4
"""Partitions of a queue; a retry queue has one."""
DRAIN: Final = 18.0
"""Seconds that a member has when its partitions are revoked."""

_groups: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Group]] = WeakKeyDictionary()


def partitioned() -> PartitionedAdapter:
    """An adapter of the server that lives as long as the event loop."""
    return PartitionedAdapter(BrokerURL.parse("memory://"), MemoryOptions())


class Partitions:
    """A queue's messages, each in the partition of its key."""

    def __init__(self, queue: Queue, width: int) -> None:
        self.queue = queue
        self._logs: list[list[Entry]] = [[] for _ in range(width)]
        self._sorted = 0

    def __len__(self) -> int:
        return len(self._logs)

    def __getitem__(self, partition: int) -> list[Entry]:
        for place in range(self._sorted, self.queue.end):
            entry = self.queue.at(place)
            key = entry.outgoing.key
            self._logs[(place if key is None else crc32(key.encode())) % len(self._logs)].append(entry)
        self._sorted = self.queue.end
        return self._logs[partition]


class Session:
    """A partition in one generation."""

    def __init__(self, group: Group, address: Address, partition: int) -> None:
        self.address = address
        self.generation = group.generation
        self.place = (address, partition)
        self._group = group
        self._watermark = Watermark(group.committed[self.place])
        self._next = self._watermark.position

    def take(self, most: int, limit: int) -> list[Delivery]:
        """Up to ``most`` messages, and none ``limit`` or more above the lowest that is not acknowledged."""
        log = self._group.partitions(self.address)[self.place[1]]
        lowest = self._next if self._watermark.lowest is None else self._watermark.lowest
        positions = range(self._next, min(len(log), self._next + most, lowest + limit))
        for position in positions:
            self._watermark.started(position)
        self._next = max(self._next, positions.stop)
        return [self._delivery(log[position], position) for position in positions]

    def finish(self, position: int) -> None:
        """Commit, where the generation is still this one."""
        if self._watermark.finished(position) and self._group.owns(self):
            self._group.committed[self.place] = self._watermark.position

    def _delivery(self, entry: Entry, position: int) -> Delivery:
        one = entry.outgoing
        origin = f"{self.place[1]}@{position}"
        message = build_message(
            self.address, self._group.name, one.body, one.headers, id=one.id, time=one.time, key=one.key, origin=origin
        )
        return Delivery(message, self.address, self, position, position=position)


class Group:
    """The coordinator: whose is which partition, and how far each is committed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.committed: dict[tuple[Address, int], int] = defaultdict(int)
        self.members: list[PartitionedConsumer] = []
        self.lock = asyncio.Lock()
        self._partitions: dict[Address, Partitions] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def partitions(self, address: Address) -> Partitions:
        """The queue's partitions. Raises QueueNotFound."""
        if address not in self._partitions:
            self._partitions[address] = Partitions(server("").find(address), 1 if address.part else WIDTH)
        return self._partitions[address]

    def owns(self, session: Session) -> bool:
        """The fence: what is of an older generation commits nothing."""
        return session.generation == self.generation

    async def rebalance(self) -> None:
        """Everybody drains and lets go; the partitions are dealt anew, in a new generation."""
        async with self.lock:
            await asyncio.gather(*(member.let_go(DRAIN) for member in self.members))
            self.generation += 1
            for address in {address: None for member in self.members for address in member.limits}:
                takers = [member for member in self.members if address in member.limits]
                for partition in range(len(self.partitions(address))):
                    takers[(partition + self.generation) % len(takers)].begin(Session(self, address, partition))

    def rebalance_soon(self) -> None:
        """A member is gone: the others are told."""
        task = asyncio.get_running_loop().create_task(self.rebalance())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class PartitionedConsumer(Consumer):
    """One member of the group."""

    def __init__(self, group: Group, listener: SessionListener) -> None:
        self.limits: Mapping[Address, int] = {}
        self._group = group
        self._listener = listener
        self._sessions: dict[Session, None] = {}
        self._event = asyncio.Event()
        self._gone = False
        self._severed = False

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`."""
        del newest
        self._alive()
        queues = server("").queues
        before = set(self.limits)
        self.limits = {address: limit for address, limit in limits.items() if address in queues}
        if before != set(self.limits):
            self._listen(before)
            await self._group.rebalance()
        return {address: queue_not_found(address) for address in limits if address not in self.limits}

    def _listen(self, before: AbstractSet[Address]) -> None:
        for address in before:
            self._group.partitions(address).queue.waiting.remove(self._event)
        for address in self.limits:
            self._group.partitions(address).queue.waiting.append(self._event)
        if self not in self._group.members:
            self._group.members.append(self)

    def begin(self, session: Session) -> None:
        """``session`` is this member's."""
        self._sessions[session] = None
        self._listener.begun(session)
        self._event.set()

    async def let_go(self, budget: float) -> None:
        """Drain what this member owns."""
        sessions = list(self._sessions)
        self._sessions.clear()  # from here on receive() gives nothing of them
        if sessions:
            await self._listener.ending(sessions, budget)

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        self._alive()
        if not (deliveries := self._take(capacity)):
            if not await wait_for_event(timeout, self._event):
                return ()
            self._alive()
            deliveries = self._take(capacity)
        self._event.clear()
        return deliveries

    def _take(self, room: Mapping[Address, int]) -> list[Delivery]:
        left, taken = dict(room), list[Delivery]()
        for session in self._sessions:
            some = session.take(left.get(session.address, 0), self.limits[session.address])
            left[session.address] = left.get(session.address, 0) - len(some)
            taken += some
        return taken

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`."""
        self._alive()
        for delivery in deliveries:
            session: Session = delivery.session  # type: ignore[assignment]  # the core gives back what it got
            session.finish(delivery.receipt)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Nothing expires here."""
        del deliveries
        return ()

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        if not self._gone:
            async with self._group.lock:
                await self.let_go(budget)
                self._leave()

    def sever(self) -> None:
        """As if this process had died."""
        self._severed = True
        self._sessions.clear()
        if not self._gone:
            self._leave()
        self._event.set()

    def _leave(self) -> None:
        self._gone = True
        for address in self.limits:
            self._group.partitions(address).queue.waiting.remove(self._event)
        if self in self._group.members:
            self._group.members.remove(self)
        self._group.rebalance_soon()

    def _alive(self) -> None:
        if self._severed:
            raise BrokerUnavailable("memory: the connection was severed")


class PartitionedAdapter(MemoryAdapter):
    """The memory adapter with another consumer."""

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        await self._reach()
        groups = _groups.setdefault(asyncio.get_running_loop(), {})
        consumer = PartitionedConsumer(groups.setdefault(group, Group(group)), listener)
        self._consumers.append(consumer)  # type: ignore[arg-type]  # whatever can be severed
        return consumer
