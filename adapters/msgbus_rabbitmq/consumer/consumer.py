"""The general consumer of a group: one connection, a session for each queue, and one event for all that arrives."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from msgbus.adapter import Consumer
from msgbus.errors import BrokerError, BrokerUnavailable
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
"""Seconds for what is in hand of a queue that is left while the member goes on."""
IDLE_BUFFER_SECONDS: Final = 0.1
"""Seconds that messages may lie in the prefetch of a member that has no room for them and nothing in hand."""
GROW_IDLE_WAIT_SECONDS: Final = 0.2
"""Seconds that a raised limit waits for hands that are not full to be empty: it is not worth ending a callback."""
GROW_RETRY_SECONDS: Final = 30.0
"""Seconds after which it is tried again."""
BLOCKED_PAUSE_SECONDS: Final = 1.0
"""The same where they wait for older ones of their keys. Each time counts as a delivery of theirs."""
_MAX_CONCURRENT: Final = 8


class RabbitConsumer(Consumer):
    """See Consumer."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        link: AmqpConnection,
        group: str,
        listener: SessionListener,
        closed: Callable[[RabbitConsumer], None],
        held_most: float = math.inf,
        returning: dict[Address, ExpectedRedeliveries] | None = None,
    ) -> None:
        """``closed`` is called when it is; nothing is held for longer than ``held_most`` seconds and a drain.

        ``returning`` is what the group's consumers before had in hand and lost, and is kept up to date.
        """
        self._connection = link
        self._group = group
        self._listener = listener
        self._on_closed = closed
        self._max_in_flight_seconds = held_most
        self._expected_redeliveries = {} if returning is None else returning
        self._declared: set[Address] = set()
        self._limits: dict[Address, int] = {}
        self._sessions: dict[Address, ChannelSession] = {}
        self._alone: dict[Address, bool] = {}
        """Of queues whose session has ended: whether it was their only one."""
        self._news = asyncio.Event()
        self._broken: BrokerUnavailable | None = None
        self._closing = False
        self._look_at = 0.0

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> AbstractSet[Address]:
        """See Consumer. A raised limit ends its queue's session, as a consumer's prefetch cannot change.

        Every new group begins behind the newest message: there is nothing before it.
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
        missing = await self._open(fresh)
        for address in missing:
            del self._limits[address]
        self._check()
        return missing

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """See Consumer."""
        self._check()
        if len(self._sessions) < len(self._limits):
            await self._resume(capacity)
        deliveries = self._take(capacity)
        if not deliveries and not self._news.is_set():
            await self._arrival(self._patience(capacity, timeout))
        self._news.clear()
        if (now := asyncio.get_running_loop().time()) >= self._look_at:
            self._look_at = now + IDLE_BUFFER_SECONDS / 2
            await self._give_up_old(now)
            await self._pause(capacity, now)
        self._check()
        return deliveries or self._take(capacity)

    async def _arrival(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self.wake)
        try:
            await self._news.wait()
        finally:
            timer.cancel()

    def wake(self) -> None:
        """See Consumer."""
        self._news.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Consumer; carried out at once."""
        for session in {delivery.session for delivery in deliveries}:
            if isinstance(session, ChannelSession):
                await session.acknowledge([one.receipt for one in deliveries if one.session is session])

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:  # noqa: ARG002
        """See Consumer: nothing expires here."""
        return ()

    async def close(self, budget: float) -> None:
        """See Consumer."""
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
            raise BrokerUnavailable(f"the consumer of group {self._group!r} is closed")
        if self._broken is not None:
            raise self._broken
        if not self._connection.is_up:
            raise BrokerUnavailable(f"the connection of group {self._group!r} to {self._connection.where} is gone")

    def _take(self, room: Mapping[Address, int]) -> list[Delivery]:
        taken: list[Delivery] = []
        for session in self._sessions.values():
            if session.waiting and (most := room.get(session.address, 0)) > 0:
                taken += session.take(most)
        return taken

    async def _open(self, addresses: Iterable[Address]) -> set[Address]:
        """Consume these too; returns those that do not exist."""
        turn = asyncio.Semaphore(_MAX_CONCURRENT)

        async def one(address: Address) -> bool:
            async with turn:
                return await self._begin(address)

        # Each is bounded by itself; all are awaited, so that none begins after an error was reported.
        wanted = list(addresses)
        began = await asyncio.gather(*(one(address) for address in wanted), return_exceptions=True)
        for outcome in began:
            if isinstance(outcome, BaseException):
                raise outcome
        return {address for address, there in zip(wanted, began, strict=True) if not there}

    async def _begin(self, address: Address) -> bool:
        if not await queue_exists(self._connection, address):
            return False
        for conflict in await declare_group(self._connection, address, self._group):
            if address not in self._declared:
                logger.warning("%s; it is used as it is", conflict)
        self._declared.add(address)
        returning = self._expected_redeliveries.pop(address, None)
        alone = self._alone.pop(address, False)
        session = ChannelSession(
            self._connection, address, self._group, self._limits[address], returning, was_alone=alone
        )
        self._sessions[address] = session
        self._listener.begun(session)
        try:
            await session.open(server_queue(address, self._group), self.wake, self._lost)
        except BrokerError:
            self._lost(session)
            raise
        return True

    def _lost(self, session: ChannelSession) -> None:
        """The server or the network ended it."""
        if self._sessions.get(session.address) is not session:
            return
        self._revoke(session)
        session.forget()
        queue = server_queue(session.address, self._group)
        self._broken = BrokerUnavailable(
            f"{self._connection.where} ended the consumer of queue {queue!r}: {session.reason}"
        )
        self._listener.lost([session])
        self.wake()

    async def _end(self, sessions: Sequence[ChannelSession], budget: float) -> None:
        """Let go of these in good order: no more pushes, finish, acknowledge, give back."""
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
            returning := session.expected_redeliveries()
        ) and not session.address.part:  # a retry queue has no order of keys
            self._expected_redeliveries[session.address] = returning

    async def _grow(self, limits: Mapping[Address, int]) -> None:
        """End the sessions whose limit was raised: full hands as any other, others only when they are soon empty.

        A second consumer on the channel would not do: what the server had under way to the first, when that is
        cancelled, comes again behind what the second one gets (seen on 3.10.8).
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
        """End in good order what the server would end by force, with all that is in hand: see ``consumer_timeout``."""
        old = [one for one in self._sessions.values() if now - one.oldest() > self._max_in_flight_seconds]
        for session in old:
            logger.warning(
                "queue %s, group %s: held for %.0f s, which is most of the server's consumer_timeout: what is not "
                "finished goes back",
                session.address,
                self._group,
                now - session.oldest(),
            )
        await self._end(old, DRAIN_SECONDS)

    def _blocked_sessions(self, room: Mapping[Address, int]) -> list[ChannelSession]:
        sessions = self._sessions.values()
        return [
            one
            for one in sessions
            if one.blocked_on_redelivery or (one.has_idle_buffer and room.get(one.address, 0) < 1)
        ]

    def _patience(self, room: Mapping[Address, int], wait: float) -> float:
        return min(
            wait,
            IDLE_BUFFER_SECONDS if self._blocked_sessions(room) else wait,
            *(one.redelivery_wait() for one in self._sessions.values()),
        )

    async def _pause(self, room: Mapping[Address, int], now: float) -> None:
        """Give back what this member has no room for and others may have: closing keeps its order, nack does not."""
        stuck = self._blocked_sessions(room)
        idle = {one: one.record_idle(now, idle=one in stuck) for one in self._sessions.values()}
        over = [
            one
            for one in stuck
            if idle[one] >= (BLOCKED_PAUSE_SECONDS if one.blocked_on_redelivery else IDLE_BUFFER_SECONDS)
        ]
        await self._end(over, 0)

    async def _resume(self, room: Mapping[Address, int]) -> None:
        paused = [one for one, most in room.items() if most > 0 and one in self._limits and one not in self._sessions]
        if paused:
            missing = await self._open(paused)
            for address in missing:
                del self._limits[address]
