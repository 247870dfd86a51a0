"""Connecting to the hosts of a URL, one after the other, and closing with a time limit.

Every step is bounded, because a frozen server accepts connections and then never answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aio_pika.exceptions import ConnectionClosed
from aiormq.connection import TransportFactory
from yarl import URL

from msgbus.errors import AccessRefused, BrokerUnavailable, ConfigurationError
from msgbus_rabbitmq.aio_pika_internals import Connection
from msgbus_rabbitmq.aio_pika_internals.vhost import is_vhost_refusal
from msgbus_rabbitmq.errors import translate_client_errors

if TYPE_CHECKING:
    import ssl

    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.url import BrokerURL
    from msgbus_rabbitmq.aio_pika_internals import Support

__all__ = ["CLOSE_TIMEOUT_SECONDS", "REPLY_TIMEOUT_SECONDS", "Connector", "EstablishedConnection"]

REPLY_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that a server may take to answer a connect or a declaration."""
HEARTBEAT_SECONDS: Final = 10
"""Seconds between heartbeats. A silent peer is noticed after 33 s. (With aiormq's default of 60, after 183 s.)"""
CLOSE_TIMEOUT_SECONDS: Final = 2.0
"""Seconds for each step of closing a connection."""


class Transport(TransportFactory):
    """The TCP or TLS stream of a connection, kept so that it can be aborted when the server does not answer."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Implement :meth:`TransportFactory.create`."""
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        return reader, self._writer

    def abort(self) -> None:
        """Abort the stream without closing the connection in good order."""
        if self._writer is not None:
            self._writer.transport.abort()


class EstablishedConnection(NamedTuple):
    """A connection and the stream under it."""

    connection: Connection
    transport: Transport

    async def close(self) -> None:
        """Close the connection in good order for at most ``CLOSE_TIMEOUT_SECONDS``, then abort its stream."""
        closing = asyncio.ensure_future(self.connection.close(ConnectionClosed(0, "closed by msgbus")))
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_SECONDS)
        finally:
            self.transport.abort()  # also when this call is cancelled: the closing ends by itself then
        if not closing.done():
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_SECONDS)
        closing.cancel()


class Connector:
    """Connects to one of the hosts of a URL.

    It tries the host that answered last first, since each host that does not answer may take five seconds.
    """

    def __init__(self, url: BrokerURL, options: AdapterOptions, purpose: str, support: Support) -> None:
        """Prepare a connector. The server's management UI and logs call its connections ``purpose``."""
        self._url = url
        self._options = options
        self._purpose = purpose
        self._support = support
        self._secure = url.scheme.endswith("s")
        self._port = 5671 if self._secure else 5672
        self._hosts = deque((name, port or self._port) for name, port in url.hosts)

    @property
    def servers(self) -> str:
        """Hosts and ports, without credentials."""
        return self._url.servers(self._port)

    async def connect(self) -> EstablishedConnection:
        """Connect to the first host that answers.

        Raises:
            BrokerUnavailable: No host answered; the message has the error of each.
            AccessRefused: A host refused the user or the virtual host; the others are not tried.
        """
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
            client_properties={"connection_name": f"msgbus {self._purpose}"},
        )
        call = asyncio.ensure_future(connection.connect())
        connected = False
        try:
            done, _ = await asyncio.wait({call}, timeout=REPLY_TIMEOUT_SECONDS)
            if not done:
                raise BrokerUnavailable(f"{doing}: no answer within {REPLY_TIMEOUT_SECONDS:g} s")  # noqa: TRY301 - handled as the client's errors are
            with translate_client_errors(doing):
                call.result()
            connected = connection.is_opened
        except BrokerUnavailable as error:
            if is_vhost_refusal(error.__cause__):
                vhost = connection.underlay.vhost
                raise AccessRefused(f"{doing}: vhost {vhost!r} does not exist or is refused") from error
            raise
        finally:
            if not connected:  # also when this call is cancelled in the moment in which the server has answered
                await _drop(call, EstablishedConnection(connection, transport))
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


async def _drop(call: asyncio.Future[Any], dropped: EstablishedConnection) -> None:
    """End the call that connects, and close what it has opened: aiormq's tasks do not end with their call."""
    if not call.done():
        dropped.transport.abort()
        call.cancel()
        await asyncio.wait({call}, timeout=CLOSE_TIMEOUT_SECONDS)
    if call.done() and not call.cancelled():
        call.exception()
    await dropped.close()
