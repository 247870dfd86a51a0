"""RedisConsumer: one consumer name over many streams."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from msgbus.adapter import Consumer
from msgbus.errors import BrokerError, BrokerUnavailable
from msgbus_redis.consumer.acknowledger import Acknowledger
from msgbus_redis.consumer.handover_signal import HandoverSignal
from msgbus_redis.consumer.stream_reader import StreamReader
from msgbus_redis.consumer.stream_session import SCAN_START_ID, StreamSession
from msgbus_redis.errors import translate
from msgbus_redis.keys import handover_signal_key, stream_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool
    from msgbus_redis.consumer.handover import Handover

__all__ = ["RedisConsumer"]

logger = logging.getLogger("msgbus.redis")

DRAIN_SECONDS: Final = 18.0
"""Seconds that a queue which is let go of has to be drained."""


class RedisConsumer(Consumer):
    """One general consumer over all its streams."""

    def __init__(  # noqa: PLR0913 - the URL's two options and what the process shares are no object
        self,
        client: ConnectionPool,
        group: str,
        listener: SessionListener,
        *,
        prefix: str,
        visibility: float,
        leaving: Handover,
    ) -> None:
        """``leaving`` is shared by the consumers of this process."""
        self.name: Final = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._client = client
        self._group = group
        self._listener = listener
        self._prefix = prefix
        self._visibility = visibility
        self._handover = leaving
        self._sessions: dict[Address, StreamSession] = {}
        self._reader = StreamReader(client, group, self.name, visibility)
        self._acknowledger = Acknowledger(client, group, self.name)
        self._handover_signal = HandoverSignal(client, handover_signal_key(prefix, group), self._on_handover)
        self._woken = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._closed

    # Subscribing.

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> AbstractSet[Address]:
        """See Consumer. Limits are only the core's room here."""
        self._alive()
        gone = [session for address, session in self._sessions.items() if address not in limits]
        if gone:
            await self._leave(gone, DRAIN_SECONDS)
        fresh = [address for address in limits if address not in self._sessions]
        if not fresh:
            return frozenset()
        self._handover_signal.listen()
        return await self._join(fresh, newest)

    async def _join(self, addresses: Sequence[Address], newest: AbstractSet[Address]) -> AbstractSet[Address]:
        await self._handover.give_back(self._group, map(self._key, addresses), self._handover_signal.notify)
        doing = f"making group {self._group}"
        creating: list[Command] = [
            ("XGROUP", "CREATE", self._key(one), self._group, "$" if one in newest else "0") for one in addresses
        ]
        missing: set[Address] = set()
        for address, reply in zip(addresses, await self._client.run(creating, doing), strict=True):
            if not isinstance(reply, ResponseError) or str(reply).startswith("BUSYGROUP"):
                self._begin(address)
            elif "key to exist" in str(reply):
                missing.add(address)
            else:
                raise translate(reply, f"{self._client.address}: queue {address}: {doing}")
        return missing

    def _begin(self, address: Address) -> None:
        session = self._sessions[address] = StreamSession(address, self._group, self._prefix, self._visibility)
        self._listener.begun(session)

    def _key(self, address: Address) -> bytes:
        return stream_key(self._prefix, address)

    # Receiving.

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """See Consumer."""
        self._alive()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            self._reader.collect()
            given = self._hand_out(capacity)
            woken, self._woken = self._woken, False
            left = end - loop.time()
            if given or woken or left <= 0:
                return given
            if not self._reader.busy and (rooms := self._capacities(capacity)):
                self._reader.begin(rooms, left)
            await self._change(left)

    async def _change(self, within: float) -> None:
        changed = self._reader.changed
        try:
            async with asyncio.timeout(within):
                await changed.wait()
        except TimeoutError:
            return
        changed.clear()

    def _capacities(self, room: Mapping[Address, int]) -> dict[StreamSession, int]:
        """What may be read: nothing is in surplus now where there is room."""
        return {self._sessions[one]: most for one, most in room.items() if most > 0 and one in self._sessions}

    def _hand_out(self, room: Mapping[Address, int]) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        given: list[Delivery] = []
        for address, most in room.items():
            session = self._sessions.get(address)
            if session is not None and session.fetch_buffer:
                given += session.hand_out(most, now)
        return given

    def wake(self) -> None:
        """See Consumer."""
        self._woken = True
        self._reader.changed.set()
        self._reader.wake()

    def _on_handover(self, key: bytes) -> None:
        """Somebody gave entries of ``key`` back: take them over before reading on."""
        for session in self._sessions.values():
            if session.key == key:
                session.claim_at = 0.0
                session.cursor = SCAN_START_ID
                self._reader.wake()

    # Settling.

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Consumer; carried out at once."""
        await self._acknowledger.acknowledge(deliveries)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See Consumer."""
        return await self._acknowledger.extend(deliveries)

    # Leaving.

    async def close(self, budget: float) -> None:
        """See Consumer."""
        if self._closed:
            return
        self._closed = True
        await self._handover_signal.close()
        await self._leave(list(self._sessions.values()), budget)
        await self._reader.close()

    async def _leave(self, sessions: Sequence[StreamSession], budget: float) -> None:
        # A read that is still under way would bring more of these after they were given back.
        await self._reader.stop_read(1.0)
        for session in sessions:
            del self._sessions[session.address]  # from here on receive() gives nothing of it
        try:
            await self._listener.ending(sessions, budget)
        except Exception:
            logger.exception("group %s: the drain failed", self._group)
        for session in sessions:
            session.end()
        try:
            keys = [session.key for session in sessions]
            await self._handover.leave(self._group, self.name, keys, self._handover_signal.notify)
        except BrokerError as error:
            logger.warning("group %s: what was in hand goes back after %g s: %s", self._group, self._visibility, error)

    def _alive(self) -> None:
        if self._closed:
            raise BrokerUnavailable("redis: this consumer is closed")
