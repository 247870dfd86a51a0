"""One plain connection, made when it is needed; and the client's errors as ours, in one table.

aiormq is the protocol layer of aio-pika. What aio-pika puts on top (callbacks that it cancels, connections that restore
themselves or nothing) is what a supervisor of our own replaces, so its connections and channels are used directly.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    ConfigurationError,
    LettersBusy,
    QueueConflict,
    QueueNotFound,
    translated,
)
from msgbus_rabbitmq.blocking import Connection, why_blocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    import aiormq
    from aiormq.abc import AbstractChannel

    from msgbus.errors import MsgbusError
    from msgbus.options import AdapterOptions
    from msgbus.url import BrokerURL

__all__ = ["ANSWER", "Link", "guarded", "hosts"]

ANSWER: Final = 5.0
"""Seconds within which a server answers a connect or a declaration."""
HEARTBEAT: Final = 10
"""Seconds; a peer that went silent is noticed after 33. (The default, 60, takes 183.)"""
FRAMES: Final = 200
"""Of a channel, that the client reads before it looks at them: 66 messages. With its default, 10, it handed out three
at a time, and each time cost two turns of the event loop."""
_FAREWELL: Final = 2.0

_T = TypeVar("_T")

_TABLE: Final[dict[type[BaseException], type[MsgbusError]]] = {
    ProbableAuthenticationError: AccessRefused,
    AuthenticationError: AccessRefused,
    ssl.SSLCertVerificationError: AccessRefused,
    ChannelAccessRefused: AccessRefused,
    ChannelNotFoundEntity: QueueNotFound,
    ChannelLockedResource: LettersBusy,
    ChannelPreconditionFailed: QueueConflict,
    # Only the client's own calls stand inside guarded(), and it raises a bare Exception or RuntimeError too.
    Exception: BrokerUnavailable,
}


@contextmanager
def guarded(doing: str) -> Iterator[None]:
    """The client's errors as ours; also its CancelledError, when it gave up a connection and nobody cancelled us."""
    try:
        with translated(_TABLE, doing):
            yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerUnavailable(f"{doing}: the connection was given up") from error


def hosts(url: BrokerURL) -> tuple[tuple[str, int], ...]:
    """Where the servers listen, with RabbitMQ's default ports."""
    default = 5671 if _secure(url) else 5672
    return tuple((name, port or default) for name, port in url.hosts)


def _secure(url: BrokerURL) -> bool:
    return url.scheme.endswith("s")


class Link:
    """One connection: up() makes it or makes it again, one attempt at a time for all who ask."""

    def __init__(self, url: BrokerURL, options: AdapterOptions, purpose: str) -> None:
        """``purpose`` names the connection in the server's own lists."""
        self._url = url
        self._hosts = deque(hosts(url))
        self._options = options
        self._purpose = purpose
        self._connection: aiormq.Connection | None = None
        self._transport: _Transport | None = None
        self._attempt: asyncio.Task[aiormq.Connection] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._numbering = asyncio.Lock()

    @property
    def where(self) -> str:
        """The servers, for errors; nothing secret in it."""
        return f"RabbitMQ at {self.servers}"

    @property
    def servers(self) -> str:
        """Their places in the network."""
        return self._url.servers(5671 if _secure(self._url) else 5672)

    @property
    def is_up(self) -> bool:
        """There is a connection, as far as we know."""
        return self._connection is not None and self._connection.is_opened

    async def up(self) -> aiormq.Connection:
        """The connection. Raises BrokerUnavailable or AccessRefused, both naming the hosts."""
        if self._connection is not None and self._connection.is_opened:
            return self._connection
        if self._attempt is None:
            self._attempt = self._spawn(self._connect())
            self._attempt.add_done_callback(self._attempted)
        with guarded(f"cannot connect to {self.where}"):
            return await asyncio.shield(self._attempt)

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A channel of its own; with ``confirms`` an unroutable message fails its confirmation."""
        connection = await self.up()
        async with self._numbering:
            # The client would take the highest number plus one for ever; the server allows 2,047.
            number = next(one for one in itertools.count(1) if one not in connection.channels)
            return await self.bounded(
                connection.channel(number, confirms, FRAMES, on_return_raises=confirms),
                f"{self.where}: cannot open a channel",
            )

    async def ping(self) -> str:
        """A channel opened and closed. On a blocked connection nothing is read: then the server's reason instead."""
        connection = await self.up()
        if reason := await why_blocked(connection):
            return f"{self.where} takes no publishes from this connection: {reason}"
        await self.leave(await self.channel())
        return ""

    async def once(self, doing: str, work: Callable[[AbstractChannel], Awaitable[_T]]) -> _T:
        """``work`` on a channel that is thrown away: what it provokes there costs nobody else anything."""
        channel = await self.channel()
        try:
            return await self.bounded(work(channel), doing)
        finally:
            await self.leave(channel)

    async def leave(self, channel: AbstractChannel) -> bool:
        """Close the channel; True where the server has then seen every acknowledgement written before. Never raises."""
        if not channel.is_closed:
            with suppress(BrokerUnavailable):
                await self.bounded(channel.close(), "closing a channel", _FAREWELL)
                return self.is_up  # the client says nothing when the connection breaks over it
        return False

    async def bounded(self, call: Awaitable[_T], doing: str, seconds: float = ANSWER) -> _T:
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
        with guarded(doing):
            return task.result()

    async def close(self) -> None:
        """Say goodbye for at most two seconds, then hang up. Never raises; the next up() connects again."""
        connection, self._connection = self._connection, None
        if self._attempt is not None:
            self._attempt.cancel()
        if connection is not None:
            await _hang_up(connection, self._transport)
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=_FAREWELL)

    def _attempted(self, attempt: asyncio.Task[aiormq.Connection]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # whoever asked may be gone

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work, name=f"msgbus rabbitmq {self._purpose}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self) -> aiormq.Connection:
        context = self._context()
        failures: list[str] = []
        # The one that answered last stands first: each that does not may take five seconds.
        while len(failures) < len(self._hosts):
            try:
                self._connection = await self._dial(*self._hosts[0], context)
            except BrokerUnavailable as error:
                failures.append(str(error))
                self._hosts.rotate(-1)
            else:
                return self._connection
        raise BrokerUnavailable("; ".join(failures))

    async def _dial(self, host: str, port: int, context: ssl.SSLContext | None) -> aiormq.Connection:
        doing = f"cannot connect to RabbitMQ at {host}:{port}"
        self._transport = transport = _Transport(context)
        connection = Connection(self._target(host, port), transport_factory=transport)
        connection.vhost = self._url.path or "/"  # as it is: in the URL it would be decoded once more
        properties = {"connection_name": f"msgbus {self._purpose}"}
        call = asyncio.ensure_future(connection.connect(client_properties=properties))
        try:
            done, _ = await asyncio.wait({call}, timeout=ANSWER)
            if not done:
                raise BrokerUnavailable(f"{doing}: no answer within {ANSWER:g} s")  # noqa: TRY301 - as its errors
            with guarded(doing):
                await call
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, InvalidFrameError) and "Close" in str(error.__cause__):
                raise AccessRefused(f"{doing}: vhost {connection.vhost!r} does not exist or is refused") from error
            raise
        finally:
            if not call.done() or not connection.is_opened:
                await _drop(call, transport)
        return connection

    def _context(self) -> ssl.SSLContext | None:
        if not _secure(self._url):
            return None
        try:
            return self._options.ssl_context()
        except OSError as error:
            raise ConfigurationError(f"{self.where}: cannot use ca=, cert= or key= of the URL: {error}") from error

    def _target(self, host: str, port: int) -> URL:
        return URL.build(
            scheme="amqps" if _secure(self._url) else "amqp",
            user=self._url.username or "guest",
            password=self._url.password or "guest",
            host=host,
            port=port,
            path="/",
            query={"heartbeat": str(HEARTBEAT)},
        )


class _Transport(TransportFactory):
    """The TCP or TLS stream, kept at hand so that a server that does not answer can be hung up on."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def _awaited(call: Awaitable[_T]) -> _T:
    return await call


async def _drop(call: asyncio.Future[Any], transport: _Transport) -> None:
    transport.abort()
    call.cancel()
    await asyncio.wait({call}, timeout=_FAREWELL)
    if call.done() and not call.cancelled():
        call.exception()


async def _hang_up(connection: aiormq.Connection, transport: _Transport | None) -> None:
    goodbye = asyncio.ensure_future(connection.close(ConnectionClosed(0, "closed by msgbus")))
    await asyncio.wait({goodbye}, timeout=_FAREWELL)
    if transport is not None:
        transport.abort()
    if not goodbye.done():
        await asyncio.wait({goodbye}, timeout=_FAREWELL)
    goodbye.cancel()
