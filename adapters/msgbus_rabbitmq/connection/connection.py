"""A connection of aio-pika that is made when it is needed, and its channels.

aio-pika's robust connections, which restore themselves, are not used: the core's supervisor decides when to connect
again, and what a member has to do before it consumes again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.aio_pika_internals.blocked import why_blocked
from msgbus_rabbitmq.connection.connector import CLOSE_TIMEOUT_SECONDS, REPLY_TIMEOUT_SECONDS, Connector
from msgbus_rabbitmq.errors import translate_client_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus_rabbitmq.aio_pika_internals import Channel, Connection, Support
    from msgbus_rabbitmq.connection.connector import EstablishedConnection

__all__ = ["AmqpConnection"]

_T = TypeVar("_T")


class AmqpConnection:
    """One connection, which ensure_connected() makes or makes again. Concurrent callers share one attempt."""

    def __init__(self, url: BrokerURL, options: AdapterOptions, purpose: str, support: Support) -> None:
        """Prepare a connection. The server's management UI and logs call it ``purpose``."""
        self._purpose = purpose
        self.support: Final = support
        self._connector = Connector(url, options, purpose, support)
        self.servers: Final = self._connector.servers
        """Hosts and ports, without credentials."""
        self.where: Final = f"RabbitMQ at {self.servers}"
        """The same for error texts."""
        self._established: EstablishedConnection | None = None
        self._attempt: asyncio.Task[Connection] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, as far as this process knows."""
        return self._established is not None and self._established.connection.is_opened

    async def ensure_connected(self) -> Connection:
        """Return the connection; connect first if there is none. Raises BrokerUnavailable or AccessRefused."""
        if self._established is not None and self._established.connection.is_opened:
            return self._established.connection
        if self._attempt is None:
            self._attempt = self._spawn(self._connect())
            self._attempt.add_done_callback(self._attempted)
        with translate_client_errors(f"cannot connect to {self.where}"):
            return await asyncio.shield(self._attempt)

    async def channel(self, *, confirms: bool = False) -> Channel:
        """Open a new channel; with ``confirms`` an unroutable message fails its confirmation."""
        connection = await self.ensure_connected()
        doing = f"{self.where}: cannot open a channel"
        with translate_client_errors(doing):
            channel = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        try:
            await self.bounded(channel.initialize(), doing)
        except BaseException:
            if not channel.is_closed:  # it was cancelled in the moment in which the server has answered
                self._spawn(self.close_channel(channel))
            raise
        return channel

    async def ping(self) -> str:
        """Open and close a channel, or return the reason why the server blocks the connection and reads nothing."""
        connection = await self.ensure_connected()
        if reason := await why_blocked(connection):
            return f"{self.where} takes no publishes from this connection: {reason}"
        await self.close_channel(await self.channel())
        return ""

    async def on_temporary_channel(self, doing: str, work: Callable[[Channel], Awaitable[_T]]) -> _T:
        """Do ``work`` on a channel of its own, which is closed afterwards: an error there closes no other channel."""
        channel = await self.channel()
        try:
            return await self.bounded(work(channel), doing)
        finally:
            await self.close_channel(channel)

    async def close_channel(self, channel: Channel) -> bool:
        """Close the channel. Never raises.

        Returns:
            True if the server has seen every acknowledgement that was written before.
        """
        if not channel.is_closed:
            with suppress(BrokerUnavailable):
                await self.bounded(channel.close(), "closing a channel", CLOSE_TIMEOUT_SECONDS)
                return self.is_up  # aio-pika raises nothing when the connection breaks during the close
        return False

    async def bounded(self, call: Awaitable[_T], doing: str, seconds: float = REPLY_TIMEOUT_SECONDS) -> _T:
        """Return the result of ``call``, or raise BrokerUnavailable after ``seconds``.

        The client's own timeouts bound nothing: they write to a queue that stays full while the server is frozen.
        """
        task = self._spawn(_awaited(call))
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
        if not done:
            raise BrokerUnavailable(f"{doing}: no answer within {seconds:g} s")
        with translate_client_errors(doing):
            return task.result()

    async def close(self) -> None:
        """Close the connection within seconds. Never raises; the next ensure_connected() connects again."""
        established, self._established = self._established, None
        if self._attempt is not None:
            self._attempt.cancel()
        if established is not None:
            await established.close()
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=CLOSE_TIMEOUT_SECONDS)

    async def _connect(self) -> Connection:
        self._established = await self._connector.connect()
        return self._established.connection

    def _attempted(self, attempt: asyncio.Task[Connection]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # mark it as retrieved: the callers may have been cancelled

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work, name=f"msgbus rabbitmq {self._purpose}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _awaited(call: Awaitable[_T]) -> _T:
    return await call
