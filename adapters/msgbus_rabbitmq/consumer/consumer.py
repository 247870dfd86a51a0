"""The consumer of a group: one connection with a session per queue, and one event that any arrival sets."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from msgbus.adapter import Consumer
from msgbus.errors import BrokerError, BrokerUnavailable, queue_not_found
from msgbus_rabbitmq.consumer.channel_session import ChannelSession
from msgbus_rabbitmq.topology import declare_group, queue_exists, server_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus_rabbitmq.connection.connection import AmqpConnection
    from msgbus_rabbitmq.consumer.expected_redeliveries import ExpectedRedeliveries

__all__ = ["RabbitConsumer"]

logger = logging.getLogger("msgbus.rabbitmq")

DRAIN_SECONDS: Final = 18.0
"""Seconds to drain the deliveries in flight of one queue while the member keeps consuming the others."""
IDLE_BUFFER_SECONDS: Final = 0.1
"""Seconds that messages may wait in the prefetch of a member without capacity and with nothing in flight."""
GROW_IDLE_WAIT_SECONDS: Final = 0.2
"""Seconds that a raised limit waits for a session below its limit to have nothing in flight.

A raised limit is not worth draining a callback.
"""
GROW_RETRY_SECONDS: Final = 30.0
"""Seconds after which a raised limit is tried again."""
BLOCKED_PAUSE_SECONDS: Final = 1.0
"""Seconds that messages may wait in the prefetch for redeliveries of their keys before they are given back.

Longer than ``IDLE_BUFFER_SECONDS``, since each time counts as a delivery of these messages.
"""
_MAX_CONCURRENT: Final = 8


class RabbitConsumer(Consumer):
    """The member's consumer of one group, on a connection of its own.

    Each queue has a `ChannelSession`. A session that ends in good order while its queue stays subscribed is opened
    again by the next receive() that has capacity for it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        connection: AmqpConnection,
        group: str,
        listener: SessionListener,
        on_closed: Callable[[RabbitConsumer], None],
        max_in_flight_seconds: float = math.inf,
        expected: dict[Address, ExpectedRedeliveries] | None = None,
    ) -> None:
        """Prepare a consumer that has no queue yet.

        Args:
            connection: The connection, which close() closes.
            group: The group to consume for.
            listener: Is told of the sessions.
            on_closed: Is called at the end of close().
            max_in_flight_seconds: Seconds after which a session with an unacknowledged delivery is drained and closed.
            expected: Deliveries that earlier consumers of the group lost, by queue. It is kept up to date.
        """
        self._connection = connection
        self._group = group
        self._listener = listener
        self._on_closed = on_closed
        self._max_in_flight_seconds = max_in_flight_seconds
        self._expected_redeliveries = {} if expected is None else expected
        self._declared: set[Address] = set()
        self._limits: dict[Address, int] = {}
        self._sessions: dict[Address, ChannelSession] = {}
        self._alone: dict[Address, bool] = {}
        """Queues whose session has ended, and whether it was the queue's only consumer."""
        self._news = asyncio.Event()
        self._ended: list[ChannelSession] = []
        """Sessions that the server has ended since the last receive()."""
        self._closing = False
        self._next_check = 0.0

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`.

        A raised limit ends the session of its queue, since the prefetch of an AMQP consumer cannot change. A new group
        always begins after the newest message, since an exchange keeps nothing for later groups.
        """
        del newest
        self._check()
        gone = [one for address, one in self._sessions.items() if limits.get(address, 0) < 1]
        await self._end(gone, DRAIN_SECONDS)
        await self._grow(limits)
        self._limits = dict(limits)
        for known in (self._expected_redeliveries, self._alone):
            for address in known.keys() - limits.keys():
                del known[address]
        fresh = [address for address in limits if address not in self._sessions]
        refused = await self._open(fresh)
        for address in refused:
            del self._limits[address]
        self._check()
        return refused

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        self._check()
        self._report_ended()
        if len(self._sessions) < len(self._limits):
            await self._resume(capacity)
        deliveries = self._take(capacity)
        if not deliveries and not self._news.is_set():
            await self._wait_for_arrival(self._receive_timeout(capacity, timeout))
        self._news.clear()
        if (now := asyncio.get_running_loop().time()) >= self._next_check:
            self._next_check = now + IDLE_BUFFER_SECONDS / 2
            await self._give_up_old(now)
            await self._pause(capacity, now)
        self._check()
        self._report_ended()
        return deliveries or self._take(capacity)

    async def _wait_for_arrival(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self.wake)
        try:
            await self._news.wait()
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._news.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`. Acknowledgements are sent in batches, within 5 ms."""
        for session in {delivery.session for delivery in deliveries}:
            if isinstance(session, ChannelSession):
                await session.acknowledge([one.receipt for one in deliveries if one.session is session])

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:  # noqa: ARG002
        """Implement :meth:`Consumer.extend`. Return nothing: a delivery belongs to its channel without a time limit."""
        return ()

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        if self._closing:
            return
        self._closing = True
        self.wake()
        try:
            await self._end(list(self._sessions.values()), budget)
        finally:
            await self._connection.close()
            self._on_closed(self)

    def _check(self) -> None:
        if self._closing:
            raise BrokerUnavailable(f"group {self._group!r}: cannot receive: the consumer is closed")
        if not self._connection.is_up:
            raise BrokerUnavailable(f"group {self._group!r}: the connection to {self._connection.where} is lost")

    def _take(self, capacity: Mapping[Address, int]) -> list[Delivery]:
        taken: list[Delivery] = []
        for session in self._sessions.values():
            if session.waiting and (most := capacity.get(session.address, 0)) > 0:
                taken += session.take(most)
        return taken

    async def _open(self, addresses: Iterable[Address]) -> dict[Address, BrokerError]:
        """Open sessions for ``addresses``; return those that are refused, each with its error."""
        limiter = asyncio.Semaphore(_MAX_CONCURRENT)

        async def begin(address: Address) -> BrokerError | None:
            async with limiter:
                try:
                    await self._begin(address)
                except BrokerError as error:
                    return error
            return None

        # Each call is bounded by itself. All are awaited, so that no session begins after an error was raised.
        wanted = list(addresses)
        outcomes = await asyncio.gather(*(begin(address) for address in wanted), return_exceptions=True)
        refused: dict[Address, BrokerError] = {}
        for address, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, BrokerError):
                refused[address] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
        if refused and not self._connection.is_up:
            raise BrokerUnavailable(f"group {self._group!r}: the connection to {self._connection.where} is lost")
        return refused

    async def _begin(self, address: Address) -> None:
        if not await queue_exists(self._connection, address):
            raise queue_not_found(address)
        for conflict in await declare_group(self._connection, address, self._group):
            if address not in self._declared:
                logger.warning("%s; consuming it as it is", conflict)
        self._declared.add(address)
        expected = self._expected_redeliveries.pop(address, None)
        alone = self._alone.pop(address, False)
        session = ChannelSession(
            self._connection, address, self._group, self._limits[address], expected, was_alone=alone
        )
        self._sessions[address] = session
        self._listener.begun(session)
        try:
            await session.open(server_queue(address, self._group), self.wake, self._lost)
        except BrokerError:
            self._forget(session)
            raise

    def _lost(self, session: ChannelSession) -> None:
        """Mark ``session`` as lost: the server has ended it, or the connection broke, which receive() raises."""
        if self._forget(session):
            self._ended.append(session)
            self.wake()

    def _report_ended(self) -> None:
        """Tell the core which queues the server has ended; the connection is up."""
        ended, self._ended = self._ended, []
        for session in ended:
            if session.address in self._sessions:
                continue  # opened again by subscribe() meanwhile
            self._limits.pop(session.address, None)
            queue = server_queue(session.address, self._group)
            error = f"{self._connection.where} ended the consumer of queue {queue!r}: {session.reason}"
            self._listener.queue_refused(session.address, BrokerError(error))

    def _forget(self, session: ChannelSession) -> bool:
        """Fence ``session``; return False if it was over already."""
        if self._sessions.get(session.address) is not session:
            return False
        self._revoke(session)
        session.forget()
        self._listener.lost([session])
        return True

    async def _end(self, sessions: Sequence[ChannelSession], budget: float) -> None:
        """Drain and close ``sessions``: hand out nothing more, finish, acknowledge, give back the rest in order."""
        if not sessions:
            return
        for session in sessions:
            session.stop()
        await self._listener.ending(sessions, budget)
        await asyncio.gather(*(session.close() for session in sessions))
        for session in sessions:
            if self._sessions.get(session.address) is session:
                self._revoke(session)

    def _revoke(self, session: ChannelSession) -> None:
        del self._sessions[session.address]
        self._alone[session.address] = bool(session.alone)
        if (
            expected := session.expected_redeliveries()
        ) and not session.address.part:  # a retry queue keeps no order per key
            self._expected_redeliveries[session.address] = expected

    async def _grow(self, limits: Mapping[Address, int]) -> None:
        """End the sessions whose limit was raised.

        A session at its limit is drained. Any other is closed only if nothing of it is in flight within
        ``GROW_IDLE_WAIT_SECONDS``.

        A second consumer on the same channel does not work: when the first one is cancelled, messages that the server
        was sending to it are redelivered after those of the second one (seen on 3.10.8).
        """
        raised = [one for address, one in self._sessions.items() if limits[address] > one.limit]
        await self._end([one for one in raised if one.full], DRAIN_SECONDS)
        now = asyncio.get_running_loop().time()
        for session in raised:
            if not session.full and session.may_grow(now):
                if await session.idle(GROW_IDLE_WAIT_SECONDS):
                    await self._end([session], 0)
                session.postpone_growth(now + GROW_RETRY_SECONDS)

    async def _give_up_old(self, now: float) -> None:
        """Drain and close sessions before the server closes their channel because of its ``consumer_timeout``."""
        old = [one for one in self._sessions.values() if now - one.oldest() > self._max_in_flight_seconds]
        for session in old:
            logger.warning(
                "queue %s, group %s: a delivery is unacknowledged for %.0f s, close to the server's consumer_timeout; "
                "draining the session and giving back what is not finished",
                session.address,
                self._group,
                now - session.oldest(),
            )
        await self._end(old, DRAIN_SECONDS)

    def _blocked_sessions(self, capacity: Mapping[Address, int]) -> list[ChannelSession]:
        sessions = self._sessions.values()
        return [
            one
            for one in sessions
            if one.blocked_on_redelivery or (one.has_idle_buffer and capacity.get(one.address, 0) < 1)
        ]

    def _receive_timeout(self, capacity: Mapping[Address, int], wait: float) -> float:
        return min(
            wait,
            IDLE_BUFFER_SECONDS if self._blocked_sessions(capacity) else wait,
            *(one.redelivery_wait() for one in self._sessions.values()),
        )

    async def _pause(self, capacity: Mapping[Address, int], now: float) -> None:
        """Give back messages that this member has no capacity for: closing keeps their order, a nack does not."""
        blocked = self._blocked_sessions(capacity)
        idle = {one: one.record_idle(now, idle=one in blocked) for one in self._sessions.values()}
        over = [
            one
            for one in blocked
            if idle[one] >= (BLOCKED_PAUSE_SECONDS if one.blocked_on_redelivery else IDLE_BUFFER_SECONDS)
        ]
        await self._end(over, 0)

    async def _resume(self, capacity: Mapping[Address, int]) -> None:
        paused = [
            one for one, most in capacity.items() if most > 0 and one in self._limits and one not in self._sessions
        ]
        if paused:
            for address, error in (await self._open(paused)).items():
                del self._limits[address]
                self._listener.queue_refused(address, error)
