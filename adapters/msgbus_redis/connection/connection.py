"""Connections: redis-py's, without its retries; commands go out together and their replies come back in order.

redis-py repeats a command whose reply was lost, by default up to ten times: an XADD would run twice, and what an
XREADGROUP had read would stay pending. Here every command is sent once.
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
    TimeoutError,  # noqa: A004 - always theirs in this file
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
"""A command on the wire; redis-py's own way took a third of the processor's time of a publish."""

REPLY_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that the server may take to answer a command that does not block."""
TRUSTED_SECONDS: Final = 0.1
"""Seconds after an answer in which a connection may be used without looking at it."""


class RedisConnection:
    """One connection, used by one task at a time; connects by itself. Raises redis-py's errors."""

    def __init__(self, place: ServerAddress) -> None:
        self._address = place
        self._connection = place.make_connection()
        self._answered = -math.inf
        self._timeout = ReusableTimeout()

    async def ready(self, *, trusting: bool = False) -> bool:
        """Connect where there is no connection, or none that still works; True if it is a new one.

        ``trusting`` does not look at one that answered a moment ago: for who can repeat what a closed one swallows.
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
                    # Closed by the server, or an answer is left over: neither may be used.
                    await disconnect(connection)
                connection.host, connection.port = await self._address.locate()
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException as error:
            # A half-made connection would be taken for a logged-in one.
            await disconnect(connection)
            if isinstance(error, builtins.TimeoutError):
                raise TimeoutError(f"no answer within {CONNECT_TIMEOUT_SECONDS:g} s") from None
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
            await disconnect(connection)  # it was the primary once: whoever is it now is asked for anew
        self._answered = asyncio.get_running_loop().time()
        return replies

    async def close(self) -> None:
        """Let go of the connection. Never raises; the next ready() makes a new one."""
        await disconnect(self._connection, wait=1.0)


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused
