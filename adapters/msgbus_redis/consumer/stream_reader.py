"""Reader of a member: one XREADGROUP over all its streams with capacity, on a connection of its own.

The server hands entries over when it answers an XREADGROUP: a cancelled one leaves them pending and unseen. So a read
runs in a task that is never cancelled. When the read is not wanted any more, CLIENT UNBLOCK ends it, and the sessions
keep the entries that it returns.

::

    start_read() -> task: maintenance that is due
                    -> XAUTOCLAIM of what dead and leaving members had, on streams where it is due
                    -> where it found nothing: XREADGROUP, blocking unless a stream is backlogged
                    -> session.add_claimed(), session.add_new() -> changed is set
    collect()    <- RedisConsumer.receive(): raises what the task raised
    wake()       -> CLIENT UNBLOCK until the task has ended

A stream with a backlog is read by a command of its own without blocking; all other streams share one command.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from redis.exceptions import NoPermissionError, ResponseError

from msgbus.adapter.retrying import Backoff
from msgbus.adapter.timeouts import cancel_and_wait
from msgbus.errors import BrokerError, BrokerUnavailable, queue_not_found
from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, RedisConnection
from msgbus_redis.consumer.maintenance import StreamMaintenance
from msgbus_redis.errors import CLIENT_ERRORS, is_queues_own, translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.pool import ConnectionPool
    from msgbus_redis.consumer.stream_session import StreamSession

__all__ = ["StreamReader"]

logger = logging.getLogger("msgbus.redis")

UNBLOCK_BACKOFF: Final = Backoff(first=0.001, most=0.1)
"""Seconds between two CLIENT UNBLOCK for one read: the read may not have reached the server."""
BLOCK_WITHOUT_UNBLOCK_SECONDS: Final = 0.05
"""Seconds that a read blocks at most where the user has no permission for CLIENT UNBLOCK."""
MAX_GROUP_REPAIRS: Final = 3
"""Times that a deleted group is created again without a successful read between; the next time is an error."""


class StreamReader:
    """Reads for one consumer name, one read at a time."""

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
        self._repairs: defaultdict[StreamSession, int] = defaultdict(int)
        self._refused: list[tuple[StreamSession, BrokerError]] = []
        self._maintenance = StreamMaintenance(group)
        self.changed = asyncio.Event()
        """Set when a read has ended, or when the consumer should look again."""

    @property
    def busy(self) -> bool:
        """Whether a read is in progress, or its result was not collected yet."""
        return self._task is not None

    def start_read(self, capacity: Mapping[StreamSession, int], wait: float) -> None:
        """Start to read up to ``capacity[s]`` entries of each session s, blocking for at most ``wait`` seconds."""
        for session in capacity:
            session.begin_read()
        self._task = asyncio.get_running_loop().create_task(
            self._read(dict(capacity), wait), name="msgbus redis reader"
        )

    def collect(self) -> None:
        """Take note of a read that has ended, if there is one. Raises the error it failed with."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if task.cancelled():
                raise BrokerUnavailable(f"{self._client.address}: the read for group {self._group} was cancelled")
            task.result()

    def take_refused(self) -> Sequence[tuple[StreamSession, BrokerError]]:
        """Return the streams that the server has refused to read since the last call, each with its error."""
        refused, self._refused = self._refused, []
        return refused

    def wake(self) -> None:
        """Have a blocking read end soon."""
        self._unwanted = self._task
        if self._blocks and (self._waker is None or self._waker.done()):
            self._waker = asyncio.get_running_loop().create_task(self._unblock(), name="msgbus redis waker")

    async def stop_read(self, within: float) -> None:
        """End the read in progress. Where that takes longer than ``within`` seconds, close its connection."""
        if self._task is None:
            return
        self.wake()
        await asyncio.wait({self._task}, timeout=within)
        if not self._task.done():
            # Entries that the server may still hand over stay pending until a member claims them, as after a crash.
            task, self._task = self._task, None
            await cancel_and_wait(task)

    async def close(self) -> None:
        """End the read and close the connection. Never raises."""
        await self.stop_read(1.0)
        await cancel_and_wait(self._waker)
        task, self._task = self._task, None
        if task is not None and task.done() and not task.cancelled():
            task.exception()  # retrieved: asyncio would log it as never retrieved
        await self._connection.close()

    async def _unblock(self) -> None:
        asked = 0
        while self._blocks and (task := self._task) is not None and task is self._unwanted:
            try:
                (reply,) = await self._client.run([("CLIENT", "UNBLOCK", self._connection_id or 0)], "waking a reader")
            except BrokerError:
                return  # the read itself raises the same
            if isinstance(reply, NoPermissionError):
                self._poll()
                return
            # The reply 0 means that the read does not block: it has ended, or has not reached the server yet.
            asked += 1
            await asyncio.wait({task}, timeout=UNBLOCK_BACKOFF.longest(asked))

    def _poll(self) -> None:
        """Read in short turns from now on: this user cannot end a blocking read."""
        if self._block_most > BLOCK_WITHOUT_UNBLOCK_SECONDS:
            self._block_most = BLOCK_WITHOUT_UNBLOCK_SECONDS
            logger.warning(
                "%s: waking the reader of group %s failed: the user lacks the permission +client|unblock; "
                "polling every %g ms instead of blocking",
                self._client.address,
                self._group,
                BLOCK_WITHOUT_UNBLOCK_SECONDS * 1000,
            )

    async def _read(self, capacity: dict[StreamSession, int], wait: float) -> None:
        try:
            if await self._connection.ready():
                (self._connection_id,) = await self._run([("CLIENT", "ID")])
            await self._maintenance.run_due(capacity, self._run)
            if await self._claim(capacity):
                return
            await self._read_new(capacity, wait)
        except CLIENT_ERRORS as error:
            raise translate(error, f"{self._client.address}: reading for group {self._group}") from error
        finally:
            self.changed.set()  # the consumer looks in the loop's next turn, when this task is done

    async def _run(self, commands: Sequence[Command], block: float = 0.0) -> list[Any]:
        return await self._connection.run(commands, block + REPLY_TIMEOUT_SECONDS)

    # Entries of dead and leaving members, before anything newer.

    async def _claim(self, capacity: Mapping[StreamSession, int]) -> bool:
        """Claim where it is due. True if that found entries, or the groups had to be created again."""
        now = asyncio.get_running_loop().time()
        due = [session for session in capacity if session.claim_due(now)]
        if not due:
            return False
        idle = int(self._visibility * 1000)
        for session in due:
            session.begin_claim(now + self._visibility / 2 * random.uniform(0.8, 1.2))  # noqa: S311 - spreads members
        replies = await self._run(
            [("XAUTOCLAIM", one.key, self._group, self._name, idle, one.cursor, "COUNT", capacity[one]) for one in due]
        )
        answered = asyncio.get_running_loop().time()
        refused = [(session, reply) for session, reply in zip(due, replies, strict=True) if _is_error(reply)]
        found = [
            session.add_claimed(reply[0], reply[1], answered)
            for session, reply in zip(due, replies, strict=True)
            if not _is_error(reply)
        ]
        await self._repair(refused)
        return any(found) or bool(refused)

    # New entries.

    async def _read_new(self, capacity: Mapping[StreamSession, int], wait: float) -> None:
        backlogged = [session for session in capacity if session.backlogged]
        idle = [session for session in capacity if not session.backlogged]
        if not backlogged:
            await self._block_on(capacity, wait)
            return
        asked = [([session], capacity[session]) for session in backlogged]
        if idle:
            asked.append((idle, min(capacity[session] for session in idle)))
        replies = await self._run([self._command(sessions, count) for sessions, count in asked])
        for (sessions, count), reply in zip(asked, replies, strict=True):
            await self._store(sessions, count, reply)

    async def _block_on(self, capacity: Mapping[StreamSession, int], wait: float) -> None:
        if self._unwanted is self._task:
            return  # wake() was called before the read got here
        now = asyncio.get_running_loop().time()
        next_claim = min(session.seconds_until_claim(now) for session in capacity)
        block = max(min(wait, self._block_most, next_claim), 0.001)
        count = min(capacity.values())
        self._blocks = True
        try:
            (reply,) = await self._run([self._command(list(capacity), count, block)], block)
        finally:
            self._blocks = False
        await self._store(list(capacity), count, reply)

    def _command(self, sessions: Sequence[StreamSession], count: int, block: float | None = None) -> Command:
        # BLOCK 0 would block indefinitely.
        blocking = () if block is None else ("BLOCK", max(int(block * 1000), 1))
        keys = [session.key for session in sessions]
        after = [">"] * len(keys)
        return ("XREADGROUP", "GROUP", self._group, self._name, "COUNT", count, *blocking, "STREAMS", *keys, *after)

    async def _store(self, sessions: Sequence[StreamSession], count: int, reply: Any) -> None:
        if _is_error(reply):
            await self._read_each_alone(sessions, count, reply)
            return
        now = asyncio.get_running_loop().time()
        streams = dict(reply or ())
        for session in sessions:
            self._repairs.pop(session, None)
            session.add_new(streams.get(session.key, ()), count, now)

    async def _read_each_alone(self, sessions: Sequence[StreamSession], count: int, error: ResponseError) -> None:
        """Find the streams that a joint read was refused for, and keep what the others have."""
        replies: Sequence[Any] = [error]
        if len(sessions) > 1:
            replies = await self._run([self._command([session], count) for session in sessions])
        for session, reply in zip(sessions, replies, strict=True):
            if not _is_error(reply):
                await self._store([session], count, reply)
        await self._repair([pair for pair in zip(sessions, replies, strict=True) if _is_error(pair[1])])

    # A stream or a group was deleted while it was read, or the server refuses it.

    async def _repair(self, refused: Sequence[tuple[StreamSession, ResponseError]]) -> None:
        """Create deleted groups again at 0 where the stream exists; leave out every other stream that is refused."""
        deleted: list[StreamSession] = []
        for session, error in refused:
            if str(error).startswith(("NOGROUP", "UNBLOCKED")) and self._repairs[session] < MAX_GROUP_REPAIRS:
                self._repairs[session] += 1
                deleted.append(session)
            else:
                self._refuse(session, error)
        if not deleted:
            return
        replies = await self._run([("XGROUP", "CREATE", one.key, self._group, "0") for one in deleted])
        for session, reply in zip(deleted, replies, strict=True):
            if reply == b"OK":
                logger.warning(
                    "%s: queue %s: group %s was deleted; it is created again and gets everything that the queue still "
                    "has",
                    self._client.address,
                    session.address,
                    self._group,
                )
            elif not str(reply).startswith("BUSYGROUP"):
                self._refuse(session, reply)

    def _refuse(self, session: StreamSession, error: ResponseError) -> None:
        """Leave out one stream. Raise ``error`` where it is the connection's."""
        self._repairs.pop(session, None)
        if not is_queues_own(error):
            raise error
        if "key to exist" in str(error):
            self._refused.append((session, queue_not_found(session.address)))
            return
        doing = f"{self._client.address}: queue {session.address}: reading for group {self._group}"
        self._refused.append((session, translate(error, doing)))


def _is_error(reply: Any) -> TypeGuard[ResponseError]:
    return isinstance(reply, ResponseError)
