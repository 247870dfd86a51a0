"""Address of a server, and redis-py's connections to it: the one file that depends on internals of redis-py."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    import ssl

__all__ = ["ServerAddress", "disconnect"]


CONNECT_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that connecting and logging in may take."""


class Discovery(Protocol):
    """Finds the server that is the primary now; its text says by whom."""

    async def primary(self) -> tuple[str, int]:
        """Where the primary is. Raises redis-py's errors."""
        ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where to connect and as whom."""

    host: str
    port: int
    """Of the server; of no meaning where sentinels know it."""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    discovery: Discovery | None = None

    @property
    def where(self) -> str:
        """Its place in the network."""
        if self.discovery is not None:
            return str(self.discovery)
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"redis {self.where}"

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    def make_connection(self) -> Connection:
        """A connection that is not connected yet."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.database,
            "username": self.username or None,
            "password": self.password or None,
            "socket_timeout": None,  # Line's business: it knows what blocks how long
            "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "socket_keepalive_options": _keepalive(),
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # replies in one shape whatever the server's version
            "driver_info": None,
        }
        if self.tls is None:
            return Connection(**settings)
        connection = AbortingSSLConnection(**settings)
        connection.ssl_context.context = self.tls
        return connection

    async def locate(self) -> tuple[str, int]:
        """The server's host and port now. Raises redis-py's errors."""
        return (self.host, self.port) if self.discovery is None else await self.discovery.primary()


def _keepalive() -> dict[int, int]:
    """Socket options that tell a dead host in about 15 s, idle or not; a frozen server's kernel still answers."""
    wanted = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


async def disconnect(connection: Connection, wait: float = 0.0) -> None:
    """Close ``connection``, in good order where the server agrees within ``wait`` seconds. Never raises."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(wait or None):
            await connection.disconnect(nowait=not wait)


class AbortingSSLConnection(SSLConnection):
    """With TLS, and closed when it is given up, by whomever: redis-py itself does so when a reply is waited for.

    TLS ends when the other side says so too, or after half a minute: until then the socket would stay open, for longer
    than an event loop that ends now.
    """

    async def disconnect(self, *args: Any, **settings: Any) -> None:
        """See Connection."""
        writer = self._writer  # gone when it has disconnected
        try:
            await super().disconnect(*args, **settings)
        finally:
            if writer is not None:
                writer.transport.abort()
