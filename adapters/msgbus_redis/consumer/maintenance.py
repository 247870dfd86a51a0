"""Stream maintenance: members trim what every group has handled and delete the names of dead consumers.

Nothing else trims. ``MAXLEN`` on an XADD would silently delete entries that are pending or that a group has not read.
Here a script computes what the slowest group still needs and deletes the rest, in one step. Each member does it: no
member has to be elected.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus_redis.lua import DELETE_DEAD_CONSUMERS, TRIM, script_command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from msgbus.adapter.address import Address
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.consumer.stream_session import StreamSession

__all__ = ["DEFAULT_RETENTION_SECONDS", "StreamMaintenance"]

logger = logging.getLogger("msgbus.redis")

DEFAULT_RETENTION_SECONDS: Final = 3600.0
"""Seconds that messages are kept where create_queue() had no ``retention``: for groups that are created later."""
MAINTENANCE_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two runs of one member, give or take a fifth."""
DEAD_CONSUMER_AFTER_SECONDS: Final = 3600.0
"""Seconds without a command after which a consumer is dead: its name is deleted where nothing is pending for it."""
MAX_TRIMMED_ENTRIES: Final = 10_000
"""Entries trimmed by one script, approximately: it blocks the server for some milliseconds."""


class StreamMaintenance:
    """Maintains the streams that one member reads."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._next = asyncio.get_running_loop().time() + _interval()
        self._warned = False
        self._dead: set[tuple[Address, str]] = set()

    async def run_due(
        self, sessions: Collection[StreamSession], run: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> None:
        """Maintain these streams where it is due. ``run`` sends commands; raises what it raises."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + _interval()
        dead_after = int(DEAD_CONSUMER_AFTER_SECONDS * 1000)
        await run([script_command(DELETE_DEAD_CONSUMERS, one.key, (self._group, dead_after)) for one in sessions])
        shared = [one for one in sessions if not one.address.part]
        trimming = [
            script_command(
                TRIM,
                (one.key, one.settings_key),
                (int(DEFAULT_RETENTION_SECONDS * 1000), MAX_TRIMMED_ENTRIES, dead_after),
            )
            for one in shared
        ]
        for session, reply in zip(shared, await run(trimming) if trimming else (), strict=True):
            if isinstance(reply, ResponseError):
                self._refused(session.address, reply)
            else:
                self._trimmed(session.address, reply)

    def _refused(self, address: Address, error: ResponseError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "queue %s: trimming failed: %s; what every group has handled is not deleted and will fill the server's "
                "memory",
                address,
                error,
            )

    def _trimmed(self, address: Address, reply: Sequence[Any]) -> None:
        removed, *dead = reply
        if removed >= MAX_TRIMMED_ENTRIES / 2:
            self._next = 0.0  # there are probably more entries to trim
        groups = {(address, name.decode(errors="replace")) for name in dead}
        for _, group in groups - self._dead:
            logger.warning(
                "queue %s: group %s has no member and has not handled everything; the queue keeps the rest for it and "
                "fills the server's memory; start a member, or delete the group (XGROUP DESTROY)",
                address,
                group,
            )
        self._dead = {one for one in self._dead if one[0] != address} | groups


def _interval() -> float:
    """Return the seconds until the next run."""
    return MAINTENANCE_INTERVAL_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - spreads members
