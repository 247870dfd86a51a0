"""Connections: redis-py's, without its retries; commands go out together and their replies come back in order.

redis-py repeats a command whose reply was lost, by default up to ten times: an XADD would run twice, and what an
XREADGROUP had read would stay pending. Here every command is sent once.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import math
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004 - always theirs in this file
)

from msgbus.limit import Limit
from msgbus_redis.failures import FAILURES, ours

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from msgbus_redis.sentinel import Sentinels

__all__ = ["Client", "Command", "Line", "Place", "hang_up"]

Command = tuple[str | bytes | int, ...]
_packed: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)
"""A command on the wire; redis-py's own way took a third of the processor's time of a publish."""

CONNECT: Final = 5.0
"""Seconds that connecting and logging in may take."""
ANSWER: Final = 5.0
"""Seconds that the server may take to answer a command that does not block."""
FRESH: Final = 0.1
"""Seconds after an answer in which a connection may be used without looking at it."""
CONNECTIONS: Final = 8
"""Most connections for commands; readers and the publisher have their own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect and as whom."""

    host: str
    port: int
    """Of the server; of no meaning where sentinels know it."""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    sentinels: Sentinels | None = None

    @property
    def where(self) -> str:
        """Its place in the network."""
        if self.sentinels is not None:
            return str(self.sentinels)
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"redis {self.where}"

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    def connection(self) -> Connection:
        """A connection that is not connected yet."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "db": self.database,
            "username": self.username or None,
            "password": self.password or None,
            "socket_timeout": None,  # Line's business: it knows what blocks how long
            "socket_connect_timeout": CONNECT,
            "socket_keepalive_options": _keepalive(),
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # replies in one shape whatever the server's version
            "driver_info": None,
        }
        if self.tls is None:
            return Connection(**settings)
        connection = Secure(**settings)
        connection.ssl_context.context = self.tls
        return connection

    async def find(self) -> tuple[str, int]:
        """The server's host and port now. Raises redis-py's errors."""
        return (self.host, self.port) if self.sentinels is None else await self.sentinels.primary()


def _keepalive() -> dict[int, int]:
    """Socket options that tell a dead host in about 15 s, idle or not; a frozen server's kernel still answers."""
    wanted = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


class Line:
    """One connection, used by one task at a time; connects by itself. Raises redis-py's errors."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection = place.connection()
        self._answered = -math.inf
        self._limit = Limit()

    async def ready(self, *, trusting: bool = False) -> bool:
        """Connect where there is no connection, or none that still works; True if it is a new one.

        ``trusting`` does not look at one that answered a moment ago: for who can repeat what a closed one swallows.
        """
        connection = self._connection
        if trusting and connection.is_connected and asyncio.get_running_loop().time() - self._answered < FRESH:
            return False
        try:
            async with asyncio.timeout(CONNECT):
                if connection.is_connected:
                    with contextlib.suppress(*FAILURES):
                        if not await connection.can_read():
                            return False
                    # Closed by the server, or an answer is left over: neither may be used.
                    await hang_up(connection)
                connection.host, connection.port = await self._place.find()
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException as error:
            # A half-made connection would be taken for a logged-in one.
            await hang_up(connection)
            if isinstance(error, builtins.TimeoutError):
                raise TimeoutError(f"no answer within {CONNECT:g} s") from None
            raise
        return True

    async def run(self, commands: Sequence[Command], within: float, replies: list[Any] | None = None) -> list[Any]:
        """The replies of ``commands``; one that the server refused is a ResponseError among them.

        ``replies`` is filled as they come, so that it says what is known when the rest is lost. When something breaks,
        nothing comes for ``within`` seconds or the caller is cancelled, the connection is closed.
        """
        replies = [] if replies is None else replies
        connection = self._connection
        try:
            with self._limit.within(within):
                await connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
                for _ in commands:
                    replies.append(await _reply(connection))
        except builtins.TimeoutError:
            await hang_up(connection)
            raise TimeoutError(f"no answer within {within:.3g} s") from None
        except BaseException:
            await hang_up(connection)
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await hang_up(connection)  # it was the primary once: whoever is it now is asked for anew
        self._answered = asyncio.get_running_loop().time()
        return replies

    async def close(self) -> None:
        """Let go of the connection. Never raises; the next ready() makes a new one."""
        await hang_up(self._connection, wait=1.0)


async def hang_up(connection: Connection, wait: float = 0.0) -> None:
    """Close ``connection``, in good order where the server agrees within ``wait`` seconds. Never raises."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(wait or None):
            await connection.disconnect(nowait=not wait)


class Secure(SSLConnection):
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


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused


class Client:
    """Commands from any task at any time, each call on one of a few connections of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[Line] = []
        self._busy: set[Line] = set()

    async def run(self, commands: Sequence[Command], doing: str, within: float = ANSWER) -> list[Any]:
        """The replies, refusals among them. Raises ours: BrokerUnavailable, AccessRefused."""
        async with self._slots:
            line = self._idle.pop() if self._idle else Line(self.place)
            self._busy.add(line)
            try:
                await line.ready()
                return await line.run(commands, within)
            except FAILURES as error:
                raise ours(error, f"{self.place}: {doing}") from error
            finally:
                self._busy.discard(line)
                self._idle.append(line)

    async def one(self, command: Command, doing: str) -> Any:
        """The reply of one command. Raises ours, a refusal included."""
        (reply,) = await self.run([command], doing)
        if isinstance(reply, ResponseError):
            raise ours(reply, f"{self.place}: {doing}")
        return reply

    async def close(self) -> None:
        """Let go of every connection. Never raises; a later call makes new ones."""
        lines, self._idle = [*self._idle, *self._busy], []
        await asyncio.gather(*(line.close() for line in lines))
