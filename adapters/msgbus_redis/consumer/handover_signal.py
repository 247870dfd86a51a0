"""The bell: a small stream per group in which a leaving member names the streams that it gave entries back in.

Without it what was given back waits for the next regular XAUTOCLAIM: 5 s at a visibility of 10 s, and newer messages
are handled first. It is a stream and no PUBLISH, so that a broken connection misses nothing and a user needs no
permission but for the keys under the prefix.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, RedisConnection
from msgbus_redis.errors import CLIENT_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["HandoverSignal"]

logger = logging.getLogger("msgbus.redis")

BLOCK_SECONDS: Final = 10.0
"""Seconds of one XREAD."""
RETRY_INTERVAL_SECONDS: Final = 1.0
"""Seconds before the next try when the connection broke; until then XAUTOCLAIM comes by its own clock."""
MAX_SIGNAL_ENTRIES: Final = 64
"""Entries that the bell keeps, about."""
SIGNAL_TTL_SECONDS: Final = 3600
"""Seconds after the last ring that the bell's key is deleted."""


class HandoverSignal:
    """One member's ear, and its hand."""

    def __init__(self, client: ConnectionPool, key: bytes, heard: Callable[[bytes], None]) -> None:
        """``heard`` is called with the key of each stream."""
        self._client = client
        self._key = key
        self._heard = heard
        self._connection = RedisConnection(client.address)
        self._last: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begin to listen."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="msgbus redis bell")

    def notify(self, streams: Iterable[bytes]) -> list[Command]:
        """The commands that ring for these streams."""
        rings: list[Command] = [
            ("XADD", self._key, "MAXLEN", "~", MAX_SIGNAL_ENTRIES, "*", "stream", one) for one in streams
        ]
        return [*rings, ("EXPIRE", self._key, SIGNAL_TTL_SECONDS)] if rings else []

    async def close(self) -> None:
        """Stop listening. An XREAD has no effects: unlike the reader's it may be cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)
        await self._connection.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._connection.ready()
                if self._last is None:
                    self._last = await self._newest()
                await self._hear(self._last)
            except CLIENT_ERRORS as error:
                if isinstance(error, ResponseError):
                    logger.warning(
                        "%s: %s: what leaving members give back comes late: %s",
                        self._client.address,
                        self._key.decode(),
                        error,
                    )
                    return
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _newest(self) -> bytes:
        newest: Any = await self._ask("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        return bytes(newest[0][0]) if newest else b"0-0"

    async def _hear(self, last: bytes) -> None:
        block = int(BLOCK_SECONDS * 1000)
        for _, entries in (
            await self._ask("XREAD", "COUNT", MAX_SIGNAL_ENTRIES, "BLOCK", block, "STREAMS", self._key, last) or ()
        ):
            for identity, fields in entries:
                self._last = identity
                self._heard(fields[1])

    async def _ask(self, *command: str | bytes | int) -> Any:
        (reply,) = await self._connection.run([command], BLOCK_SECONDS + REPLY_TIMEOUT_SECONDS)
        if isinstance(reply, ResponseError):
            raise reply
        return reply
