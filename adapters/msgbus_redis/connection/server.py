"""Address of a server, and redis-py's connections to it: the one file that depends on internals of redis-py.

No other file touches a private name of redis-py or overrides one of its methods. :func:`verify` checks at start that
everything of :data:`USED` is there.

1. ``AbortingSSLConnection`` overrides ``disconnect`` and reads ``_writer``.

   - Client: redis-py 8.1.
   - Symptom: ``disconnect(nowait=True)`` closes a TLS connection politely. Its socket stays open until the server
     agrees or asyncio's TLS shutdown timeout of 30 s is over, so it outlives ``close()`` and often the event loop.
   - Fails without it: ``test_a_connection_is_closed_though_a_frozen_server_does_not_agree``.
   - Unnecessary when redis-py aborts the transport for ``nowait=True`` or takes ``ssl_shutdown_timeout``.

2. ``ServerAddress.make_connection`` puts an ``SSLContext`` into ``RedisSSLContext.context``, and reads back by
   ``_connection_arguments`` that redis-py connects with it.

   - Client: redis-py 8.1.
   - Symptom: redis-py makes its SSL context itself, of file names. The TLS options of a URL, which are the same for
     every broker, give a context that is made already; without it the server's certificate is not trusted.
   - Fails without it: ``test_members_and_publishers_follow_the_primary_with_the_least_rights``,
     ``test_redis_py_connects_with_the_context_of_the_url``.
   - Unnecessary when ``SSLConnection`` takes an ``SSLContext``.

3. The low-level methods of ``Connection`` are public and not documented. msgbus calls them instead of the commands of
   ``redis.asyncio.Redis``, which repeat a command whose reply was lost.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from redis.asyncio.connection import Connection, RedisSSLContext, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from msgbus.errors import ConfigurationError
from msgbus_redis.errors import CLIENT_ERRORS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ["ServerAddress", "disconnect", "verify"]

logger = logging.getLogger("msgbus.redis")

SUPPORTED: Final = ">=8,<9"
"""Versions of redis-py that msgbus is tested with, as in pyproject.toml."""
CONNECT_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that connecting and logging in may take."""


class Used(NamedTuple):
    """A name of redis-py that is overridden, private or undocumented, and the parameters that msgbus passes by name."""

    owner: type
    name: str
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}" + (f"({', '.join(self.parameters)})" if self.parameters else "")

    def is_there(self) -> bool:
        """Return whether the installed redis-py has it."""
        found = getattr(self.owner, self.name, None)
        if found is None or not self.parameters:
            return found is not None
        return set(self.parameters) <= inspect.signature(found).parameters.keys()


USED: Final = (
    Used(SSLConnection, "disconnect", ("nowait",)),  # overridden
    Used(SSLConnection, "_writer"),  # read
    Used(SSLConnection, "_connection_arguments"),  # read
    Used(RedisSSLContext, "context"),  # replaced
    Used(Connection, "disconnect", ("nowait",)),
    Used(Connection, "is_connected"),
    Used(Connection, "can_read"),
    Used(Connection, "connect"),
    Used(Connection, "send_packed_command", ("check_health",)),
    Used(Connection, "read_response"),
)


def missing(used: Iterable[Used]) -> list[str]:
    """Return those of ``used`` that the installed redis-py does not have."""
    return [str(one) for one in used if not one.is_there()]


@cache
def verify() -> None:
    """Check once that the installed redis-py has everything in `USED`.

    Raises:
        ConfigurationError: Something is missing. The text names it, the installed and the supported versions.
    """
    if gone := missing(USED):
        raise ConfigurationError(
            f"redis-py {version('redis')} does not fit this msgbus: {', '.join(gone)} missing; install redis{SUPPORTED}"
        )


class Discovery(Protocol):
    """Finds the server that is the primary now; its text names the sentinels that are asked."""

    async def primary(self) -> tuple[str, int]:
        """Return the primary's host and port. Raises redis-py's errors."""
        ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Host, port and database of a server, and the credentials to log in with."""

    host: str
    port: int
    """The server's port; not used where ``discovery`` finds the server."""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    discovery: Discovery | None = None

    @property
    def where(self) -> str:
        """``host:port``, or the service and its sentinels."""
        if self.discovery is not None:
            return str(self.discovery)
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"redis {self.where}"

    def __repr__(self) -> str:
        return f"ServerAddress({str(self)!r})"

    def make_connection(self) -> Connection:
        """Make a connection that is not connected yet. Raises ConfigurationError where redis-py ignores ``tls``."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.database,
            "username": self.username or None,
            "password": self.password or None,
            "socket_timeout": None,  # RedisConnection limits each call: it knows which commands block
            "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "socket_keepalive_options": _keepalive(),
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # replies have the same shape from every version of the server
            "driver_info": None,
        }
        if self.tls is None:
            return Connection(**settings)
        connection = AbortingSSLConnection(**settings)
        connection.use(self.tls)
        return connection

    async def locate(self) -> tuple[str, int]:
        """Return the server's host and port now, asking the sentinels if there are any. Raises redis-py's errors."""
        return (self.host, self.port) if self.discovery is None else await self.discovery.primary()


def _keepalive() -> dict[int, int]:
    """Return socket options that notice a dead host in about 15 s, idle or not.

    They do not notice a frozen server: its kernel still answers.
    """
    wanted = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


async def disconnect(connection: Connection, wait: float = 0.0) -> None:
    """Close ``connection``, in good order where the server agrees within ``wait`` seconds. Never raises."""
    where = f"redis {connection.host}:{connection.port}"
    try:
        async with asyncio.timeout(wait or None):
            await connection.disconnect(nowait=not wait)
    except CLIENT_ERRORS as error:  # the server is gone already, or does not agree in time
        logger.debug("%s: closing a connection failed: %r; it is abandoned", where, error)
    except Exception:
        logger.warning("%s: closing a connection failed; its socket may stay open", where, exc_info=True)


class AbortingSSLConnection(SSLConnection):
    """A TLS connection with the caller's context, whose socket is aborted at each disconnect.

    redis-py itself disconnects where waiting for a reply fails. The head of this file says why.
    """

    def use(self, context: ssl.SSLContext) -> None:
        """Connect with ``context``. Raises ConfigurationError where redis-py would use another."""
        self.ssl_context.context = context
        if self._connection_arguments().get("ssl") is not context:
            raise ConfigurationError(
                f"redis-py {version('redis')} does not use the TLS options of the URL; install redis{SUPPORTED}"
            )

    async def disconnect(self, *args: Any, **settings: Any) -> None:
        """Implement ``Connection.disconnect``; abort the transport afterwards, whatever came of it."""
        writer = self._writer  # gone when it has disconnected
        try:
            await super().disconnect(*args, **settings)
        finally:
            if writer is not None:
                writer.transport.abort()
