"""Consumer of one member: takes messages from its group's position in each queue, and gives back unfinished ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus.adapter import Consumer
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.adapter.timeouts import DRAIN_SECONDS, wait_for_event
from msgbus.errors import BrokerUnavailable, queue_not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus.errors import BrokerError
    from msgbus_memory.server import Entry, Group, Queue, Server

__all__ = ["MemoryConsumer"]


class QueueSession:
    """Session of one member on one queue."""

    __slots__ = ("address", "group", "queue")

    def __init__(self, address: Address, queue: Queue, group: Group) -> None:
        self.address = address
        self.queue = queue
        self.group = group

    def begin(self, event: asyncio.Event) -> None:
        """Join the group; the queue sets ``event`` for each message."""
        self.group.join(self)
        self.queue.waiting.append(event)

    def take(self, most: int) -> list[Delivery]:
        """Take up to ``most`` messages, oldest first."""
        return [self._delivery(entry) for entry in self.group.take(self, most)]

    def _delivery(self, entry: Entry) -> Delivery:
        outgoing = entry.outgoing
        message = build_message(
            self.address,
            self.group.name,
            outgoing.body,
            outgoing.headers,
            id=outgoing.id,
            time=outgoing.time,
            key=outgoing.key,
            origin=str(entry.place),
            redelivered=entry in self.group.seen,
        )
        return Delivery(message, self.address, self, entry)

    def end(self, event: asyncio.Event) -> None:
        """Leave the group: what is in flight goes back, and the queue does not set ``event`` any more."""
        self.queue.waiting.remove(event)
        if self.group.leave(self):
            self.queue.notify()


class MemoryConsumer(Consumer):
    """One consumer over all queues that its member is subscribed to."""

    def __init__(self, server: Server, group: str, listener: SessionListener) -> None:
        self._server = server
        self._group = group
        self._listener = listener
        self._sessions: dict[Address, QueueSession] = {}
        self._event = asyncio.Event()
        self._closed = False
        self._severed = False

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`. Limits are not needed here: the capacity of receive() follows them."""
        self._alive()
        await self._leave([address for address in self._sessions if address not in limits], DRAIN_SECONDS)
        refused: dict[Address, BrokerError] = {}
        for address in limits:
            if address in self._server.refused:
                refused[address] = self._server.refused[address]
            elif address not in self._server.queues:
                refused[address] = queue_not_found(address)
            elif address not in self._sessions:
                self._join(address, at_end=address in newest)
        return refused

    def _join(self, address: Address, *, at_end: bool) -> None:
        queue = self._server.find(address)
        group = queue.group(self._group, at_end=at_end)
        session = self._sessions[address] = QueueSession(address, queue, group)
        session.begin(self._event)
        self._listener.begun(session)

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        self._alive()
        self._leave_out_refused()
        if not (deliveries := self._take(capacity)):
            if not await wait_for_event(timeout, self._event):
                return ()
            self._alive()
            self._leave_out_refused()
            deliveries = self._take(capacity)
        self._event.clear()
        return deliveries

    def _leave_out_refused(self) -> None:
        """End the sessions of queues that the server refuses."""
        for address in self._server.refused.keys() & self._sessions.keys():
            session = self._sessions.pop(address)
            self._listener.lost([session])
            session.end(self._event)
            self._listener.queue_refused(address, self._server.refused[address])

    def _take(self, capacity: Mapping[Address, int]) -> list[Delivery]:
        taken: list[Delivery] = []
        for address, most in capacity.items():
            if (session := self._sessions.get(address)) is not None:
                taken += session.take(most)
        return taken

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`, at once."""
        self._alive()
        for delivery in deliveries:
            session: QueueSession = delivery.session  # type: ignore[assignment]  # the core returns deliveries of this consumer
            session.group.acknowledge(delivery.receipt, session)
        self._server.apply_retention()

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`: nothing expires here, so nothing is lost."""
        del deliveries
        return ()

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        if not self._closed:
            await self._leave(list(self._sessions), budget)
            self._closed = True

    async def _leave(self, addresses: Sequence[Address], budget: float) -> None:
        sessions = [self._sessions[address] for address in addresses]
        for address in addresses:
            del self._sessions[address]  # from here on receive() returns none of its messages
        await self._listener.ending(sessions, budget)
        for session in sessions:
            session.end(self._event)

    def sever(self) -> None:
        """End all sessions as if this process had died; every later call fails."""
        self._severed = True
        for session in self._sessions.values():
            session.end(self._event)
        self._sessions.clear()
        self._event.set()

    def _alive(self) -> None:
        if self._severed:
            raise BrokerUnavailable("memory: the connection was severed")
