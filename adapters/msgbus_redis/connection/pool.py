"""Pool of a few connections for commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    ResponseError,
)

from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, Command, RedisConnection
from msgbus_redis.errors import CLIENT_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus_redis.connection.server import ServerAddress

__all__ = ["ConnectionPool"]


MAX_CONNECTIONS: Final = 8
"""Connections of a pool. Readers, handover signals and the publisher have connections of their own."""


class ConnectionPool:
    """Runs commands of any task at any time, each call on a connection that no other call uses meanwhile."""

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[RedisConnection] = []
        self._busy: set[RedisConnection] = set()

    async def run(self, commands: Sequence[Command], doing: str, within: float = REPLY_TIMEOUT_SECONDS) -> list[Any]:
        """Send commands once and return their replies.

        Args:
            commands: What to send, together.
            doing: The purpose of the commands, with the queue or group; error texts begin with it.
            within: Seconds for all replies.

        Returns:
            One reply a command. For a command that the server refused it is a ResponseError.

        Raises:
            BrokerUnavailable, AccessRefused: The server could not be reached, or does not let this user in.
        """
        async with self._slots:
            connection = self._idle.pop() if self._idle else RedisConnection(self.address)
            self._busy.add(connection)
            try:
                await connection.ready()
                return await connection.run(commands, within)
            except CLIENT_ERRORS as error:
                raise translate(error, f"{self.address}: {doing}") from error
            finally:
                if connection in self._busy:
                    self._busy.discard(connection)
                    self._idle.append(connection)
                else:  # the pool was closed meanwhile, perhaps before this had connected
                    await connection.close()

    async def run_one(self, command: Command, doing: str) -> Any:
        """Send one command and return its reply. Raises a BrokerError, also where the server refuses the command."""
        (reply,) = await self.run([command], doing)
        if isinstance(reply, ResponseError):
            raise translate(reply, f"{self.address}: {doing}")
        return reply

    async def close(self) -> None:
        """Close every connection; a call in progress closes its own again at its end.

        Never raises; a later call connects again.
        """
        connections, self._idle, self._busy = [*self._idle, *self._busy], [], set()
        await asyncio.gather(*(connection.close() for connection in connections))
