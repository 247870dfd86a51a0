"""Connecting: to one host after the other, each within its time; and hanging up on a server that does not answer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiormq.connection import TransportFactory
from aiormq.exceptions import ConnectionClosed
from yarl import URL

from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError
from msgbus_rabbitmq.aiormq_internals.connection import Connection
from msgbus_rabbitmq.aiormq_internals.vhost import is_vhost_refusal
from msgbus_rabbitmq.errors import translate_client_errors

if TYPE_CHECKING:
    import ssl

    import aiormq

    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus_rabbitmq.aiormq_internals import Support

__all__ = ["CLOSE_TIMEOUT_SECONDS", "REPLY_TIMEOUT_SECONDS", "Connector", "EstablishedConnection"]

REPLY_TIMEOUT_SECONDS: Final = 5.0
"""Seconds within which a server answers a connect or a declaration."""
HEARTBEAT_SECONDS: Final = 10
"""Seconds; a peer that went silent is noticed after 33. (The default, 60, takes 183.)"""
CLOSE_TIMEOUT_SECONDS: Final = 2.0
"""Seconds for each step of letting go of a connection."""


class Transport(TransportFactory):
    """The TCP or TLS stream, kept at hand so that a server that does not answer can be hung up on."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See TransportFactory."""
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        return reader, self._writer

    def abort(self) -> None:
        """Without a goodbye."""
        if self._writer is not None:
            self._writer.transport.abort()


class EstablishedConnection(NamedTuple):
    """A connection and what it is made over."""

    connection: aiormq.Connection
    transport: Transport

    async def close(self) -> None:
        """Say goodbye for at most two seconds, then abort."""
        goodbye = asyncio.ensure_future(self.connection.close(ConnectionClosed(0, "closed by msgbus")))
        await asyncio.wait({goodbye}, timeout=CLOSE_TIMEOUT_SECONDS)
        self.transport.abort()
        if not goodbye.done():
            await asyncio.wait({goodbye}, timeout=CLOSE_TIMEOUT_SECONDS)
        goodbye.cancel()


class Connector:
    """The hosts of a URL; the one that answered last stands first: each that does not may take five seconds."""

    def __init__(self, url: BrokerURL, options: AdapterOptions, purpose: str, support: Support) -> None:
        """``purpose`` names the connection in the server's own lists."""
        self._url = url
        self._options = options
        self._purpose = purpose
        self._support = support
        self._secure = url.scheme.endswith("s")
        self._port = 5671 if self._secure else 5672
        self._hosts = deque((name, port or self._port) for name, port in url.hosts)

    @property
    def servers(self) -> str:
        """Their places in the network; nothing secret in it."""
        return self._url.servers(self._port)

    async def connect(self) -> EstablishedConnection:
        """A connection to one of them. Raises BrokerUnavailable with what each said, or AccessRefused at once."""
        context = self._context()
        await self._support.rehearse()
        failures: list[str] = []
        while len(failures) < len(self._hosts):
            try:
                return await self._connect_to(*self._hosts[0], context)
            except BrokerUnavailable as error:
                failures.append(str(error))
                self._hosts.rotate(-1)
        raise BrokerUnavailable("; ".join(failures))

    async def _connect_to(self, host: str, port: int, context: ssl.SSLContext | None) -> EstablishedConnection:
        doing = f"cannot connect to RabbitMQ at {host}:{port}"
        transport = Transport(context)
        connection = Connection(
            self._target(host, port),
            vhost=self._url.path or "/",
            transport_factory=transport,
            use_frame_reader=self._support.frame_reader,
        )
        properties = {"connection_name": f"msgbus {self._purpose}"}
        call = asyncio.ensure_future(connection.connect(client_properties=properties))
        try:
            done, _ = await asyncio.wait({call}, timeout=REPLY_TIMEOUT_SECONDS)
            if not done:
                raise BrokerUnavailable(f"{doing}: no answer within {REPLY_TIMEOUT_SECONDS:g} s")  # noqa: TRY301 - as its errors
            with translate_client_errors(doing):
                await call
        except BrokerUnavailable as error:
            if is_vhost_refusal(error.__cause__):
                raise AccessRefused(f"{doing}: vhost {connection.vhost!r} does not exist or is refused") from error
            raise
        finally:
            if not call.done() or not connection.is_opened:
                await _drop(call, transport)
        return EstablishedConnection(connection, transport)

    def _context(self) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        try:
            return self._options.ssl_context()
        except OSError as error:
            raise ConfigurationError(
                f"RabbitMQ at {self.servers}: cannot use ca=, cert= or key= of the URL: {error}"
            ) from error

    def _target(self, host: str, port: int) -> URL:
        return URL.build(
            scheme="amqps" if self._secure else "amqp",
            user=self._url.username or "guest",
            password=self._url.password or "guest",
            host=host,
            port=port,
            path="/",
            query={"heartbeat": str(HEARTBEAT_SECONDS)},
        )


async def _drop(call: asyncio.Future[Any], transport: Transport) -> None:
    transport.abort()
    call.cancel()
    await asyncio.wait({call}, timeout=CLOSE_TIMEOUT_SECONDS)
    if call.done() and not call.cancelled():
        call.exception()
