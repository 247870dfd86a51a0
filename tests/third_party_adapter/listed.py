"""A third-party adapter over plain lists in this process, ``listed://name``. It keeps nothing for later groups.

It is what the page for adapter authors promises to be enough, and not a part of msgbus.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from msgbus.adapter import Adapter, Capabilities, Consumer, DeadLetterStore, Lag
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.adapter.options import AdapterOptions
from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked, NoRoute, QueueNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError
    from msgbus.message import Message

Entry = tuple[int, "Outgoing"]
LISTS: dict[tuple[object, str], dict[Address, Queue]] = {}
"""By event loop and name."""
PLACES = count()


class Queue:
    """What each group has to do, or, of a dead-letter queue, what lies there."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Entry]] = {}
        self.held: dict[tuple[str, int], Session] = {}
        self.seen: set[tuple[str, int]] = set()
        self.letters: list[Entry] = []
        self.taker: object = None
        self.changed: dict[asyncio.Event, None] = {}

    def add(self, outgoing: Outgoing) -> None:
        entry = (next(PLACES), outgoing)
        if outgoing.address.part == "dlq":
            self.letters.append(entry)
        for waiting in self.groups.values():
            heapq.heappush(waiting, entry)
        self.tell()

    def tell(self) -> None:
        for event in [*self.changed]:
            self.changed[event] = self.changed.pop(event)  # whoever was woken first is the last of the next turn
            event.set()


class Session:
    """One member on one queue."""

    def __init__(self, address: Address, group: str, queue: Queue) -> None:
        self.address, self.group, self.queue = address, group, queue

    def take(self, most: int) -> list[Delivery]:
        waiting = self.queue.groups[self.group]
        return [self._hold(heapq.heappop(waiting)) for _ in range(min(most, len(waiting)))]

    def _hold(self, entry: Entry) -> Delivery:
        place = (self.group, entry[0])
        self.queue.held[place] = self
        message = read(self.address, self.group, entry, redelivered=place in self.queue.seen)
        return Delivery(message, self.address, self, entry)

    def done(self, entry: Entry) -> None:
        if self.queue.held.get((self.group, entry[0])) is self:
            del self.queue.held[self.group, entry[0]]
            self.queue.seen.discard((self.group, entry[0]))

    def end(self, held: Iterable[Entry]) -> None:
        for entry in held:
            place = (self.group, entry[0])
            if self.queue.held.get(place) is self:
                del self.queue.held[place]
                self.queue.seen.add(place)
                heapq.heappush(self.queue.groups[self.group], entry)
        self.queue.tell()


def read(address: Address, group: str, entry: Entry, *, redelivered: bool = False) -> Message:
    place, one = entry
    return build_message(
        *(address, group, one.body, one.headers),
        id=one.id,
        time=one.time,
        key=one.key,
        origin=str(place),
        redelivered=redelivered,
    )


class ListConsumer(Consumer):
    """One general consumer."""

    def __init__(self, queues: dict[Address, Queue], group: str, listener: SessionListener) -> None:
        self._queues, self._group, self._listener = queues, group, listener
        self._sessions: dict[Address, Session] = {}
        self._held: dict[Session, dict[int, Entry]] = {}
        self._event = asyncio.Event()
        self.severed = False

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        del newest  # every group begins with what is new
        self._alive()
        await self._leave([one for one in self._sessions if one not in limits], 18.0)
        missing = {one for one in limits if one not in self._queues}
        for address in limits.keys() - missing - self._sessions.keys():
            queue = self._queues[address]
            queue.groups.setdefault(self._group, [])
            queue.changed[self._event] = None
            session = self._sessions[address] = Session(address, self._group, queue)
            self._held[session] = {}
            self._listener.begun(session)
        return {one: QueueNotFound(f"queue {one} does not exist") for one in missing}

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        self._alive()
        if not (found := self._take(capacity)):
            if not await wait_for_event(timeout, self._event):
                return ()
            self._alive()
            found = self._take(capacity)
        self._event.clear()
        return found

    def _take(self, room: Mapping[Address, int]) -> list[Delivery]:
        found: list[Delivery] = []
        for address, most in room.items():
            if (session := self._sessions.get(address)) is not None:
                some = session.take(most)
                self._held[session].update((one.receipt[0], one.receipt) for one in some)
                found += some
        return found

    def wake(self) -> None:
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._alive()
        for one in deliveries:
            if isinstance(one.session, Session):
                one.session.done(one.receipt)
                self._held.get(one.session, {}).pop(one.receipt[0], None)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        del deliveries
        return ()

    async def close(self, budget: float) -> None:
        await self._leave(list(self._sessions), budget)

    async def _leave(self, addresses: Sequence[Address], budget: float) -> None:
        sessions = [self._sessions.pop(address) for address in addresses]
        await self._listener.ending(sessions, budget)
        for session in sessions:
            self._end(session)

    def _end(self, session: Session) -> None:
        session.queue.changed.pop(self._event, None)
        session.end(self._held.pop(session).values())

    def sever(self) -> None:
        self.severed = True
        for session in self._sessions.values():
            self._end(session)
        self._sessions.clear()
        self._event.set()

    def _alive(self) -> None:
        if self.severed:
            raise BrokerUnavailable("listed: severed")


class ListLetters(DeadLetterStore):
    """The dead letters of one queue."""

    def __init__(self, queue: Queue, address: Address) -> None:
        self._queue, self._address = queue, address

    async def count(self) -> tuple[int, bool]:
        return len(self._queue.letters), True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        found = [one for one in self._queue.letters if not isinstance(after, int) or one[0] > after]
        page = [
            Delivery(read(self._address, self._address.group, one), self._address, self, one) for one in found[:limit]
        ]
        return page, found[limit - 1][0] if len(found) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        if self._queue.taker not in {None, self}:
            raise DeadLettersLocked(
                f"queue {self._address}: its dead letters are locked by another process; try again later"
            )
        self._queue.taker = self
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        if self._queue.taker is not self:
            raise DeadLetterLockLost(f"queue {self._address}: take its letters again")
        gone = {one.receipt[0] for one in letters}
        self._queue.letters = [one for one in self._queue.letters if one[0] not in gone]

    async def close(self) -> None:
        if self._queue.taker is self:
            self._queue.taker = None


class ListAdapter(Adapter):
    """``listed://name``."""

    capabilities: ClassVar[Capabilities] = Capabilities(durable=False, history=False, relies_on="this process")
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions
    supported_starts = frozenset({"newest"})

    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        del options
        self._name = url.hosts[0][0] if url.hosts else ""
        self._consumers: list[ListConsumer] = []
        self._severed = False

    @property
    def _queues(self) -> dict[Address, Queue]:
        if self._severed:
            raise BrokerUnavailable("listed: severed")
        return LISTS.setdefault((asyncio.get_running_loop(), self._name), {})

    async def connect(self) -> None:
        assert self._queues is not None

    async def close(self) -> None:
        self._consumers.clear()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        for spec in specs:
            refused = {"partitions": spec.partitions, "retention": spec.retention, "native": spec.native or None}
            if given := [name for name, value in refused.items() if value is not None] or spec.compact:
                raise Unsupported(f"queue {spec.address}: lists cannot honour {given}=; leave it out")
        for spec in specs:
            queue = self._queues.setdefault(spec.address, Queue())
            for group in spec.groups:
                queue.groups.setdefault(group, [])

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        del timeout
        try:
            return [self._append(one) for one in messages]
        except BrokerUnavailable as error:
            return [error] * len(messages)

    def _append(self, outgoing: Outgoing) -> BrokerError | None:
        address = outgoing.address
        if (queue := self._queues.get(address)) is None:
            return QueueNotFound(f"queue {address} does not exist; create_queue() makes it")
        if not queue.groups and not address.part:
            return NoRoute(f"queue {address} has no group: create_queue(groups=...), or consume first")
        queue.add(outgoing)
        return None

    def _find(self, address: Address) -> Queue:
        if (queue := self._queues.get(address)) is None:
            raise QueueNotFound(f"queue {address} does not exist; create_queue() makes it")
        return queue

    async def lag(self, address: Address, group: str) -> Lag:
        return Lag(len(self._find(address).groups.get(group, ())))

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        consumer = ListConsumer(self._queues, group, listener)
        self._consumers.append(consumer)
        return consumer

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        return ListLetters(self._find(address), address)

    def sever(self) -> None:
        """What a kill does to a process."""
        self._severed = True
        for consumer in self._consumers:
            consumer.sever()
