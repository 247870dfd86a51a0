"""A small pool of connections for commands."""

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
"""Most connections for commands; readers and the publisher have their own."""


class ConnectionPool:
    """Commands from any task at any time, each call on one of a few connections of its own."""

    def __init__(self, place: ServerAddress) -> None:
        self.address = place
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[RedisConnection] = []
        self._busy: set[RedisConnection] = set()

    async def run(self, commands: Sequence[Command], doing: str, within: float = REPLY_TIMEOUT_SECONDS) -> list[Any]:
        """The replies, refusals among them. Raises ours: BrokerUnavailable, AccessRefused."""
        async with self._slots:
            line = self._idle.pop() if self._idle else RedisConnection(self.address)
            self._busy.add(line)
            try:
                await line.ready()
                return await line.run(commands, within)
            except CLIENT_ERRORS as error:
                raise translate(error, f"{self.address}: {doing}") from error
            finally:
                self._busy.discard(line)
                self._idle.append(line)

    async def run_one(self, command: Command, doing: str) -> Any:
        """The reply of one command. Raises ours, a refusal included."""
        (reply,) = await self.run([command], doing)
        if isinstance(reply, ResponseError):
            raise translate(reply, f"{self.address}: {doing}")
        return reply

    async def close(self) -> None:
        """Let go of every connection. Never raises; a later call makes new ones."""
        lines, self._idle = [*self._idle, *self._busy], []
        await asyncio.gather(*(line.close() for line in lines))
