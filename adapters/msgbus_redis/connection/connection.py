"""One connection to a server: redis-py's, without its retries.

redis-py repeats a command whose reply was lost, by default up to ten times. A repeated XADD would publish a message
twice, and the entries of a repeated XREADGROUP would stay pending. Here every command is sent once.

Commands of one call are sent together, and their replies are read in order.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import math
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
from redis.exceptions import (
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's everywhere in this file
)

from msgbus.adapter.timeouts import ReusableTimeout
from msgbus_redis.connection.server import CONNECT_TIMEOUT_SECONDS, ServerAddress, disconnect
from msgbus_redis.errors import CLIENT_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.connection import Connection


__all__ = ["Command", "RedisConnection"]

Command = tuple[str | bytes | int, ...]
_packed: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)
"""Encode a command for the wire. redis-py's own encoder took a third of the CPU time of a publish."""

REPLY_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that the server may take to answer a command that does not block."""
TRUSTED_SECONDS: Final = 0.1
"""Seconds after a reply in which a connection may be used without checking it."""


class RedisConnection:
    """One connection for one task at a time. Connects again by itself. Raises redis-py's errors."""

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        self._connection = address.make_connection()
        self._answered = -math.inf
        self._timeout = ReusableTimeout()

    async def ready(self, *, trusting: bool = False) -> bool:
        """Connect where there is no connection, or none that works.

        Args:
            trusting: Do not check a connection that answered within `TRUSTED_SECONDS`. For callers that can repeat
                commands that a closed connection swallows.

        Returns:
            Whether the connection is new.
        """
        connection = self._connection
        if (
            trusting
            and connection.is_connected
            and asyncio.get_running_loop().time() - self._answered < TRUSTED_SECONDS
        ):
            return False
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                if connection.is_connected:
                    with contextlib.suppress(*CLIENT_ERRORS):
                        if not await connection.can_read():
                            return False
                    # The server has closed it, or a reply is left over: it cannot be used.
                    await disconnect(connection)
                connection.host, connection.port = await self._address.locate()
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException as error:
            # redis-py would take a half-made connection for one that is logged in.
            await disconnect(connection)
            if isinstance(error, builtins.TimeoutError):
                raise TimeoutError(f"no answer within {CONNECT_TIMEOUT_SECONDS:g} s") from None
            raise
        return True

    async def run(self, commands: Sequence[Command], within: float, replies: list[Any] | None = None) -> list[Any]:
        """Send commands and return their replies. The connection is closed where that fails or is cancelled.

        Args:
            commands: What to send, together.
            within: Seconds for all replies.
            replies: List that is filled as replies arrive. It holds the known ones where the rest is lost.

        Returns:
            One reply a command. For a command that the server refused it is a ResponseError.
        """
        replies = [] if replies is None else replies
        connection = self._connection
        try:
            with self._timeout.within(within):
                await connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
                for _ in commands:
                    replies.append(await _reply(connection))
        except builtins.TimeoutError:
            await disconnect(connection)
            raise TimeoutError(f"no answer within {within:.3g} s") from None
        except BaseException:
            await disconnect(connection)
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await disconnect(connection)  # it is the primary no longer: the next ready() discovers the new one
        self._answered = asyncio.get_running_loop().time()
        return replies

    async def close(self) -> None:
        """Close the connection. Never raises; the next ready() connects again."""
        await disconnect(self._connection, wait=1.0)


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused
