"""Handover signal: a small stream per group in which a leaving member names the streams that it gave entries back in.

Without the signal, entries that were given back wait for the next regular XAUTOCLAIM (5 s at a visibility of 10 s), and
newer messages are handled first. The signal is a stream instead of a PUBLISH for two reasons: a broken connection
misses nothing, and a user needs no permission besides the keys under the prefix.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError
from tenacity import retry_if_exception, wait_fixed

from msgbus.adapter.retrying import call_repeatedly
from msgbus.adapter.timeouts import cancel_and_wait
from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, RedisConnection
from msgbus_redis.errors import CLIENT_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool

__all__ = ["HandoverSignal"]

logger = logging.getLogger("msgbus.redis")

BLOCK_SECONDS: Final = 10.0
"""Seconds that one XREAD blocks."""
RETRY_INTERVAL_SECONDS: Final = 1.0
"""Seconds before the next try after a broken connection; meanwhile members claim by their own clock."""
MAX_SIGNAL_ENTRIES: Final = 64
"""Entries that the signal stream keeps, approximately."""
SIGNAL_TTL_SECONDS: Final = 3600
"""Seconds after the last signal at which the server deletes the stream."""

_LOST: Final = retry_if_exception(
    lambda error: isinstance(error, CLIENT_ERRORS) and not isinstance(error, ResponseError)
)
"""Errors after which the connection is made again. A refusal stays one."""


class HandoverSignal:
    """Listens to the signals of one group, and makes them for a leaving member."""

    def __init__(self, client: ConnectionPool, key: bytes, heard: Callable[[bytes], None]) -> None:
        """Prepare to call ``heard`` with the key of each stream in which entries were given back."""
        self._client = client
        self._key = key
        self._heard = heard
        self._connection = RedisConnection(client.address)
        self._last: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to listen; does nothing where it listens already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="msgbus redis handover signal")

    def notify(self, streams: Iterable[bytes]) -> list[Command]:
        """Return the commands that signal a handover in these streams."""
        signals: list[Command] = [
            ("XADD", self._key, "MAXLEN", "~", MAX_SIGNAL_ENTRIES, "*", "stream", one) for one in streams
        ]
        return [*signals, ("EXPIRE", self._key, SIGNAL_TTL_SECONDS)] if signals else []

    async def close(self) -> None:
        """Stop to listen. Unlike an XREADGROUP an XREAD has no effects on the server, so it is cancelled."""
        await cancel_and_wait(self._task)
        await self._connection.close()

    async def _run(self) -> None:
        try:
            while True:
                await call_repeatedly(self._connect_and_listen, wait=wait_fixed(RETRY_INTERVAL_SECONDS), retry=_LOST)
        except ResponseError as error:
            logger.warning(
                "%s: reading handover signals from %s failed: %s; entries of leaving members are taken over at the "
                "next regular claim; grant the user this key",
                self._client.address,
                self._key.decode(),
                error,
            )

    async def _connect_and_listen(self) -> None:
        await self._connection.ready()
        if self._last is None:
            self._last = await self._newest()
        await self._listen(self._last)

    async def _newest(self) -> bytes:
        newest: Any = await self._ask("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        return bytes(newest[0][0]) if newest else b"0-0"

    async def _listen(self, last: bytes) -> None:
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
