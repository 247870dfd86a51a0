"""One plain connection, made when it is needed, and its channels.

aiormq is the protocol layer of aio-pika. What aio-pika puts on top (callbacks that it cancels, connections that restore
themselves or nothing) is what a supervisor of our own replaces, so its connections and channels are used directly.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.aiormq_internals.blocked import why_blocked
from msgbus_rabbitmq.connection.connector import CLOSE_TIMEOUT_SECONDS, REPLY_TIMEOUT_SECONDS, Connector
from msgbus_rabbitmq.errors import translate_client_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import aiormq
    from aiormq.abc import AbstractChannel

    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus_rabbitmq.aiormq_internals import Support
    from msgbus_rabbitmq.connection.connector import EstablishedConnection

__all__ = ["AmqpConnection"]

FRAME_BUFFER_SIZE: Final = 200
"""Of a channel, that the client reads before it looks at them. With its default, 10, it handed out three messages at a
time where it reads deliveries itself, and each time cost two turns of the event loop."""
_T = TypeVar("_T")


class AmqpConnection:
    """One connection: up() makes it or makes it again, one attempt at a time for all who ask."""

    def __init__(self, url: BrokerURL, options: AdapterOptions, purpose: str, support: Support) -> None:
        """``purpose`` names the connection in the server's own lists."""
        self._purpose = purpose
        self.support: Final = support
        self._connector = Connector(url, options, purpose, support)
        self.servers: Final = self._connector.servers
        """Their places in the network."""
        self.where: Final = f"RabbitMQ at {self.servers}"
        """The same for errors; nothing secret in it."""
        self._established: EstablishedConnection | None = None
        self._attempt: asyncio.Task[aiormq.Connection] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbering = asyncio.Lock()

    @property
    def is_up(self) -> bool:
        """There is a connection, as far as we know."""
        return self._established is not None and self._established.connection.is_opened

    async def ensure_connected(self) -> aiormq.Connection:
        """The connection. Raises BrokerUnavailable or AccessRefused, both naming the hosts."""
        if self._established is not None and self._established.connection.is_opened:
            return self._established.connection
        if self._attempt is None:
            self._attempt = self._spawn(self._connect())
            self._attempt.add_done_callback(self._attempted)
        with translate_client_errors(f"cannot connect to {self.where}"):
            return await asyncio.shield(self._attempt)

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A channel of its own; with ``confirms`` an unroutable message fails its confirmation."""
        connection = await self.ensure_connected()
        async with self._numbering:
            # The client would take the highest number plus one for ever; the server allows 2,047.
            number = next(one for one in itertools.count(1) if one not in connection.channels)
            return await self.bounded(
                connection.channel(number, confirms, FRAME_BUFFER_SIZE, on_return_raises=confirms),
                f"{self.where}: cannot open a channel",
            )

    async def ping(self) -> str:
        """A channel opened and closed. On a blocked connection nothing is read: then the server's reason instead."""
        connection = await self.ensure_connected()
        if reason := await why_blocked(connection):
            return f"{self.where} takes no publishes from this connection: {reason}"
        await self.close_channel(await self.channel())
        return ""

    async def on_temporary_channel(self, doing: str, work: Callable[[AbstractChannel], Awaitable[_T]]) -> _T:
        """``work`` on a channel that is thrown away: what it provokes there costs nobody else anything."""
        channel = await self.channel()
        try:
            return await self.bounded(work(channel), doing)
        finally:
            await self.close_channel(channel)

    async def close_channel(self, channel: AbstractChannel) -> bool:
        """Close the channel; True where the server has then seen every acknowledgement written before. Never raises."""
        if not channel.is_closed:
            with suppress(BrokerUnavailable):
                await self.bounded(channel.close(), "closing a channel", CLOSE_TIMEOUT_SECONDS)
                return self.is_up  # the client says nothing when the connection breaks over it
        return False

    async def bounded(self, call: Awaitable[_T], doing: str, seconds: float = REPLY_TIMEOUT_SECONDS) -> _T:
        """What ``call`` gives within ``seconds``, else BrokerUnavailable.

        The client's own timeouts write to a queue that a frozen server leaves full, so they do not bound anything.
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
        """Say goodbye for at most two seconds, then hang up. Never raises; the next up() connects again."""
        dialled, self._established = self._established, None
        if self._attempt is not None:
            self._attempt.cancel()
        if dialled is not None:
            await dialled.close()
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=CLOSE_TIMEOUT_SECONDS)

    async def _connect(self) -> aiormq.Connection:
        self._established = await self._connector.connect()
        return self._established.connection

    def _attempted(self, attempt: asyncio.Task[aiormq.Connection]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # whoever asked may be gone

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work, name=f"msgbus rabbitmq {self._purpose}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _awaited(call: Awaitable[_T]) -> _T:
    return await call
