"""Consumer of one member: one consumer name of a group over many streams.

::

    receive(): reader.collect() -> session.hand_out()
               -> where nothing is buffered: reader.start_read(), wait until it has changed something
    subscribe(), close(): reader.stop_read() -> SessionListener.ending() (the drain) -> Handover.leave()
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from msgbus.adapter import Consumer
from msgbus.adapter.timeouts import DRAIN_SECONDS, wait_for_event
from msgbus.errors import BrokerError, BrokerUnavailable, queue_not_found
from msgbus_redis.consumer.acknowledger import Acknowledger
from msgbus_redis.consumer.handover_signal import HandoverSignal
from msgbus_redis.consumer.stream_reader import StreamReader
from msgbus_redis.consumer.stream_session import StreamSession
from msgbus_redis.errors import is_queues_own, translate
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

JOINING_COMMANDS: Final = 3
"""Commands that are sent to join the group on one stream."""


class RedisConsumer(Consumer):
    """One consumer over all streams that its member is subscribed to."""

    def __init__(  # noqa: PLR0913 - the URL's two options and the shared handover are no object
        self,
        client: ConnectionPool,
        group: str,
        listener: SessionListener,
        *,
        prefix: str,
        visibility: float,
        handover: Handover,
    ) -> None:
        """Make a consumer that is subscribed to nothing. The consumers of one process share ``handover``."""
        self.name: Final = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._client = client
        self._group = group
        self._listener = listener
        self._prefix = prefix
        self._visibility = visibility
        self._handover = handover
        self._sessions: dict[Address, StreamSession] = {}
        self._reader = StreamReader(client, group, self.name, visibility)
        self._acknowledger = Acknowledger(client, group, self.name, self._leave_out)
        self._handover_signal = HandoverSignal(client, handover_signal_key(prefix, group), self._on_handover)
        self._left_out = False
        """A stream was left out since the last join."""
        self._woken = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether ``close()`` has been called."""
        return self._closed

    # Subscribing.

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`. Limits are not needed here: the capacity of receive() follows them."""
        self._alive()
        gone = [session for address, session in self._sessions.items() if address not in limits]
        if gone:
            await self._leave(gone, DRAIN_SECONDS)
        fresh = [address for address in limits if address not in self._sessions]
        if not fresh:
            return {}
        if self._left_out:
            # A read in progress could still bring entries of a stream that was left out.
            await self._reader.stop_read(1.0)
            self._left_out = False
        self._handover_signal.start()
        return await self._join(fresh, newest)

    async def _join(self, addresses: Sequence[Address], newest: AbstractSet[Address]) -> dict[Address, BrokerError]:
        """Join the group on these streams. Return those that are refused, each with its error."""
        not_given_back = await self._handover.give_back(
            self._group, map(self._key, addresses), self._handover_signal.notify
        )
        doing = f"joining group {self._group}"
        commands = [command for one in addresses for command in self._joining(one, at_end=one in newest)]
        replies = await self._client.run(commands, doing)
        refused: dict[Address, BrokerError] = {}
        for number, address in enumerate(addresses):
            of_queue = replies[JOINING_COMMANDS * number : JOINING_COMMANDS * (number + 1)]
            if (error := not_given_back.get(self._key(address)) or self._refusal(address, of_queue, doing)) is None:
                self._begin(address)
            else:
                refused[address] = error
        return refused

    def _joining(self, address: Address, *, at_end: bool) -> Sequence[Command]:
        """Return the commands that create the group, and ask whether it may read and acknowledge.

        The last two change nothing: this consumer name has nothing pending, and no entry has that id.
        """
        key = self._key(address)
        return (
            ("XGROUP", "CREATE", key, self._group, "$" if at_end else "0"),
            ("XREADGROUP", "GROUP", self._group, self.name, "COUNT", 1, "STREAMS", key, "0"),
            ("XACK", key, self._group, "0-1"),
        )

    def _refusal(self, address: Address, replies: Sequence[object], doing: str) -> BrokerError | None:
        """Return why the stream cannot be consumed. Raise an error that is the connection's."""
        for reply in replies:
            if not isinstance(reply, ResponseError) or str(reply).startswith("BUSYGROUP"):
                continue
            if "key to exist" in str(reply):
                return queue_not_found(address)
            error = translate(reply, f"{self._client.address}: queue {address}: {doing}")
            if not is_queues_own(reply):
                raise error
            return error
        return None

    def _begin(self, address: Address) -> None:
        session = self._sessions[address] = StreamSession(address, self._group, self._prefix, self._visibility)
        self._listener.begun(session)

    def _key(self, address: Address) -> bytes:
        return stream_key(self._prefix, address)

    # Receiving.

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        self._alive()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            self._reader.collect()
            for session, error in self._reader.take_refused():
                self._leave_out(session, error)
            given = self._hand_out(capacity)
            woken, self._woken = self._woken, False
            left = end - loop.time()
            if given or woken or left <= 0:
                return given
            if not self._reader.busy and (demand := self._demand(capacity)):
                self._reader.start_read(demand, left)
            await wait_for_event(left, self._reader.changed)
            self._reader.changed.clear()

    def _demand(self, capacity: Mapping[Address, int]) -> dict[StreamSession, int]:
        """Return what may be read: the fetch buffers of queues with capacity are empty now."""
        return {self._sessions[one]: most for one, most in capacity.items() if most > 0 and one in self._sessions}

    def _hand_out(self, capacity: Mapping[Address, int]) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        given: list[Delivery] = []
        for address, most in capacity.items():
            session = self._sessions.get(address)
            if session is not None and session.buffered:
                given += session.hand_out(most, now)
        return given

    def _leave_out(self, session: StreamSession, error: BrokerError) -> None:
        """End the session of a stream that the server refuses. What is in flight stays pending."""
        if self._sessions.get(session.address) is not session:
            return
        del self._sessions[session.address]
        session.end()
        # Without a handover the entries in flight would come after newer ones, when their visibility time is over.
        self._handover.remember(self._group, self.name, session.key)
        self._left_out = True
        self._listener.lost([session])
        self._listener.queue_refused(session.address, error)

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._woken = True
        self._reader.changed.set()
        self._reader.wake()

    def _on_handover(self, key: bytes) -> None:
        """Claim the entries that a leaving member gave back in the stream ``key``, before anything newer is read."""
        for session in self._sessions.values():
            if session.key == key:
                session.claim_now()
                self._reader.wake()

    # Acknowledging.

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`, at once."""
        await self._acknowledger.acknowledge(deliveries)

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`."""
        return await self._acknowledger.extend(deliveries)

    # Leaving.

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        if self._closed:
            return
        self._closed = True
        await self._handover_signal.close()
        await self._leave(list(self._sessions.values()), budget)
        await self._reader.close()

    async def _leave(self, sessions: Sequence[StreamSession], budget: float) -> None:
        # A read in progress could bring more entries of these streams after they were given back.
        await self._reader.stop_read(1.0)
        for session in sessions:
            # From here on receive() returns none of its entries. A refused stream may have been left out meanwhile.
            self._sessions.pop(session.address, None)
        try:
            await self._listener.ending(sessions, budget)
        except Exception:
            logger.exception("group %s: the drain failed; what is not acknowledged is delivered again", self._group)
        for session in sessions:
            session.end()
        try:
            keys = [session.key for session in sessions]
            refused = await self._handover.leave(self._group, self.name, keys, self._handover_signal.notify)
            for error in refused.values():
                raise error
        except BrokerError as error:
            logger.warning(
                "group %s: handing over the deliveries in flight failed: %s; other members take them over after %g s",
                self._group,
                error,
                self._visibility,
            )

    def _alive(self) -> None:
        if self._closed:
            raise BrokerUnavailable("redis: this consumer is closed")
