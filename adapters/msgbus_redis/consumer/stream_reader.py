"""Reading: one XREADGROUP over all streams with room, on a connection of its own, in a task that is never cancelled.

A cancelled XREADGROUP leaves what the server had already handed over pending and unseen. So a read that nobody waits
for any more goes on, CLIENT UNBLOCK ends it, and what it brings is kept by the sessions.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from msgbus.errors import BrokerError, BrokerUnavailable
from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, RedisConnection
from msgbus_redis.consumer.maintenance import StreamMaintenance
from msgbus_redis.consumer.stream_session import SCAN_START_ID
from msgbus_redis.errors import CLIENT_ERRORS, first_refusal, translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool
    from msgbus_redis.consumer.stream_session import StreamSession

__all__ = ["StreamReader"]

logger = logging.getLogger("msgbus.redis")

MIN_UNBLOCK_RETRY_SECONDS: Final = 0.001
MAX_UNBLOCK_RETRY_SECONDS: Final = 0.1
"""Seconds between two tries to end a read, at first and at most."""
BLOCK_WITHOUT_UNBLOCK_SECONDS: Final = 0.05
"""Seconds a read blocks at most where the user may not CLIENT UNBLOCK."""
MAX_GROUP_REPAIRS: Final = 3
"""Groups are made again so often without a good read between; then it is an error."""


class StreamReader:
    """One consumer name's reads."""

    def __init__(self, client: ConnectionPool, group: str, name: str, visibility: float) -> None:
        self._client = client
        self._group = group
        self._name = name
        self._visibility = visibility
        self._connection = RedisConnection(client.address)
        self._connection_id: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._blocks = False
        self._block_most = float("inf")
        self._waker: asyncio.Task[None] | None = None
        self._unwanted: asyncio.Task[None] | None = None
        self._repairs = 0
        self._maintenance = StreamMaintenance(group)
        self.changed = asyncio.Event()
        """Set when a read has ended, or somebody wants the attention of whoever waits for one."""

    @property
    def busy(self) -> bool:
        """A read is under way, or its end was not looked at."""
        return self._task is not None

    def begin(self, rooms: Mapping[StreamSession, int], wait: float) -> None:
        """Start to read up to ``rooms[s]`` entries of each s; blocks for ``wait`` seconds at most."""
        for session in rooms:
            session.acknowledged_during_read.clear()
        self._task = asyncio.get_running_loop().create_task(self._read(dict(rooms), wait), name="msgbus redis reader")

    def collect(self) -> None:
        """Look at the end of a read, if there is one. Raises what it failed with."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if task.cancelled():
                raise BrokerUnavailable(f"{self._client.address}: the read for group {self._group} was given up")
            task.result()

    def wake(self) -> None:
        """End a blocking read soon."""
        self._unwanted = self._task
        if self._blocks and (self._waker is None or self._waker.done()):
            self._waker = asyncio.get_running_loop().create_task(self._unblock(), name="msgbus redis waker")

    async def stop_read(self, within: float) -> None:
        """End the read under way; when that takes longer than ``within`` seconds, its connection is closed."""
        if self._task is None:
            return
        self.wake()
        await asyncio.wait({self._task}, timeout=within)
        if not self._task.done():
            # What it may still bring stays pending, and is taken over like a dead member's.
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)

    async def close(self) -> None:
        """Let go of everything. Never raises."""
        await self.stop_read(1.0)
        if self._waker is not None and not self._waker.done():
            self._waker.cancel()
            await asyncio.wait({self._waker}, timeout=1.0)
        task, self._task = self._task, None
        if task is not None and task.done() and not task.cancelled():
            task.exception()  # looked at: nobody else will
        await self._connection.close()

    async def _unblock(self) -> None:
        pause = MIN_UNBLOCK_RETRY_SECONDS
        while self._blocks and (task := self._task) is not None and task is self._unwanted:
            try:
                (reply,) = await self._client.run([("CLIENT", "UNBLOCK", self._connection_id or 0)], "waking a reader")
            except BrokerError:
                return  # the read will say so itself
            if isinstance(reply, NoPermissionError):
                self._poll()
                return
            # 0 says that it does not block: it has ended, or has not arrived yet.
            await asyncio.wait({task}, timeout=pause)
            pause = min(2 * pause, MAX_UNBLOCK_RETRY_SECONDS)

    def _poll(self) -> None:
        if self._block_most > BLOCK_WITHOUT_UNBLOCK_SECONDS:
            self._block_most = BLOCK_WITHOUT_UNBLOCK_SECONDS
            logger.warning(
                "%s: without the permission +client|unblock group %s asks every %g ms instead of waiting",
                self._client.address,
                self._group,
                BLOCK_WITHOUT_UNBLOCK_SECONDS * 1000,
            )

    async def _read(self, rooms: dict[StreamSession, int], wait: float) -> None:
        try:
            if await self._connection.ready():
                (self._connection_id,) = await self._run([("CLIENT", "ID")])
            await self._maintenance.run_due(rooms, self._run)
            if await self._take_over(rooms):
                return
            await self._read_new(rooms, wait)
        except CLIENT_ERRORS as error:
            raise translate(error, f"{self._client.address}: reading for group {self._group}") from error
        finally:
            self.changed.set()  # whoever waits looks in the loop's next turn, and finds the task done

    async def _run(self, commands: Sequence[Command], block: float = 0.0) -> list[Any]:
        return await self._connection.run(commands, block + REPLY_TIMEOUT_SECONDS)

    # What dead members left, before anything newer.

    async def _take_over(self, rooms: Mapping[StreamSession, int]) -> bool:
        now = asyncio.get_running_loop().time()
        due = [session for session in rooms if session.claim_at <= now]
        if not due:
            return False
        idle = int(self._visibility * 1000)
        for session in due:
            session.claim_at = now + self._visibility / 2 * random.uniform(0.8, 1.2)  # noqa: S311 - spreads members
        replies = await self._run(
            [("XAUTOCLAIM", one.key, self._group, self._name, idle, one.cursor, "COUNT", rooms[one]) for one in due]
        )
        if (refused := first_refusal(replies)) is not None:
            await self._repair(due, refused)
            return True
        found = [self._taken(session, reply) for session, reply in zip(due, replies, strict=True)]
        return any(found)

    def _taken(self, session: StreamSession, reply: Sequence[Any]) -> int:
        now = asyncio.get_running_loop().time()
        # claim_at was set when this was sent: 0 says that the bell rang meanwhile, and all is to be looked at again.
        session.cursor = reply[0] if session.claim_at else SCAN_START_ID
        if session.cursor != SCAN_START_ID:
            session.claim_at = 0.0
        # What was trimmed meanwhile: 7.0 drops it by itself, 6.2 names it without fields.
        there = [entry for entry in reply[1] if entry is not None and entry[1] is not None]
        return session.fetched(there, now, redelivered=True)

    # What is new.

    async def _read_new(self, rooms: Mapping[StreamSession, int], wait: float) -> None:
        hot = [session for session in rooms if session.backlogged]
        cool = [session for session in rooms if not session.backlogged]
        if not hot:
            await self._block_on(rooms, wait)
            return
        asked = [([session], rooms[session]) for session in hot]
        if cool:
            asked.append((cool, min(rooms[session] for session in cool)))
        replies = await self._run([self._command(sessions, count) for sessions, count in asked])
        for (sessions, count), reply in zip(asked, replies, strict=True):
            await self._store(sessions, count, reply)

    async def _block_on(self, rooms: Mapping[StreamSession, int], wait: float) -> None:
        if self._unwanted is self._task:
            return  # woken before it got here
        now = asyncio.get_running_loop().time()
        block = max(min(wait, self._block_most, min(session.claim_at for session in rooms) - now), 0.001)
        count = min(rooms.values())
        self._blocks = True
        try:
            (reply,) = await self._run([self._command(list(rooms), count, block)], block)
        finally:
            self._blocks = False
        await self._store(list(rooms), count, reply)

    def _command(self, sessions: Sequence[StreamSession], count: int, block: float | None = None) -> Command:
        # BLOCK 0 would block for ever.
        blocking = () if block is None else ("BLOCK", max(int(block * 1000), 1))
        keys = [session.key for session in sessions]
        after = [">"] * len(keys)
        return ("XREADGROUP", "GROUP", self._group, self._name, "COUNT", count, *blocking, "STREAMS", *keys, *after)

    async def _store(self, sessions: Sequence[StreamSession], count: int, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            await self._repair(sessions, reply)
            return
        self._repairs = 0
        now = asyncio.get_running_loop().time()
        streams = dict(reply or ())
        for session in sessions:
            entries = streams.get(session.key, ())
            session.backlogged = len(entries) >= count
            session.fetched(entries, now, redelivered=False)

    # A stream or a group was deleted under us.

    async def _repair(self, sessions: Sequence[StreamSession], error: ResponseError) -> None:
        """Make the groups again at 0 where the stream is there. Raises BrokerUnavailable where it is not."""
        text = str(error)
        if not text.startswith(("NOGROUP", "UNBLOCKED")) or self._repairs >= MAX_GROUP_REPAIRS:
            raise error
        self._repairs += 1
        replies = await self._run([("XGROUP", "CREATE", one.key, self._group, "0") for one in sessions])
        for session, reply in zip(sessions, replies, strict=True):
            if reply == b"OK":
                logger.warning(
                    "queue %s: group %s was deleted; it was made again and gets everything that the queue still has",
                    session.address,
                    self._group,
                )
            elif not str(reply).startswith("BUSYGROUP"):
                raise BrokerUnavailable(f"{self._client.address}: queue {session.address} is gone: {reply}")
