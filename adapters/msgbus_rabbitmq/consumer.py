"""RabbitConsumer: one connection for a group, and on it one channel for each queue."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Final

from msgbus.adapter import Consumer
from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.sessions import ChannelSession
from msgbus_rabbitmq.topology import declare_group, exists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import SessionListener
    from msgbus.message import Delivery
    from msgbus.names import Address
    from msgbus_rabbitmq.connection import Link

__all__ = ["RabbitConsumer"]

DRAIN: Final = 18.0
"""Seconds a queue that is let go of has to be drained."""


class RabbitConsumer(Consumer):
    """See Consumer. The server pushes up to each queue's limit; receive() only hands out."""

    def __init__(self, link: Link, group: str, listener: SessionListener) -> None:
        self._link = link
        self._group = group
        self._listener = listener
        self._sessions: dict[Address, ChannelSession] = {}
        self._event = asyncio.Event()
        self._closed = False
        self._broken = False

    async def subscribe(self, limits: Mapping[Address, int]) -> AbstractSet[Address]:
        """See Consumer. A raised limit is a new channel: the prefetch of a running consumer cannot change."""
        self._alive()
        await self._end([one for one in self._sessions.values() if one.limit < limits.get(one.address, 0)], DRAIN)
        await self._end([one for one in self._sessions.values() if one.address not in limits], DRAIN)
        new = [address for address in limits if address not in self._sessions]
        there = await asyncio.gather(*(exists(self._link, address) for address in new))
        found = [address for address, is_there in zip(new, there, strict=True) if is_there]
        for address in found:
            await self._begin(address, limits[address])
        return set(new) - set(found)

    async def _begin(self, address: Address, limit: int) -> None:
        await declare_group(self._link, address, self._group)
        session = ChannelSession(await self._link.channel(), address, self._group, limit)
        self._sessions[address] = session
        self._listener.begun(session)
        await session.begin(self._link, self._event.set, self._lost)

    async def receive(self, room: Mapping[Address, int], wait: float) -> Sequence[Delivery]:
        """See Consumer."""
        self._alive()
        if not (deliveries := self._take(room)):
            try:
                async with asyncio.timeout(wait):
                    await self._event.wait()
            except TimeoutError:
                return ()
            self._alive()
            deliveries = self._take(room)
        self._event.clear()
        return deliveries

    def _take(self, room: Mapping[Address, int]) -> list[Delivery]:
        taken: list[Delivery] = []
        for address, most in room.items():
            if (session := self._sessions.get(address)) is not None:
                taken += session.take(most)
        return taken

    def wake(self) -> None:
        """See Consumer."""
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Consumer."""
        by_session = sorted(deliveries, key=lambda one: id(one.session))
        for _, group in groupby(by_session, key=lambda one: id(one.session)):
            ours = list(group)
            session: ChannelSession = ours[0].session  # type: ignore[assignment]  # the core gives back what it got
            await session.acknowledge([one.receipt for one in ours])

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Nothing expires: a delivery is ours as long as its channel is open."""
        del deliveries
        return ()

    async def close(self, budget: float) -> None:
        """See Consumer."""
        if self._closed:
            return
        self._closed = True
        self._event.set()
        await self._end(list(self._sessions.values()), budget)
        await self._link.close()

    async def _end(self, sessions: Sequence[ChannelSession], budget: float) -> None:
        if not sessions:
            return
        for session in sessions:
            self._sessions.pop(session.address, None)  # from here on receive() gives nothing of it
        await asyncio.gather(*(session.stop(self._link) for session in sessions))
        await self._listener.ending(list(sessions), budget)
        await asyncio.gather(*(session.leave(self._link) for session in sessions))

    def _lost(self, session: ChannelSession) -> None:
        """Its channel died, or the server cancelled its consumer: the queue was deleted, or has moved."""
        if self._sessions.get(session.address) is session:
            self._broken = True
            self._listener.lost([session])
            self._event.set()

    def _alive(self) -> None:
        if self._broken or self._closed or not self._link.is_up:
            raise BrokerUnavailable(f"{self._link.where}: group {self._group!r} has lost its connection or a channel")
