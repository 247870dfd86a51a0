"""What members do for their streams beside reading: trim what every group has handled, delete names of the dead.

Nothing else trims: ``MAXLEN`` on an XADD would delete what a group has not read yet, and what is pending, without a
word. Here the slowest group decides, in one script with the deletion. Any member may do it, so each does.
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
"""Seconds that messages are kept where create_queue() did not say: for groups that come later."""
MAINTENANCE_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two looks of one member, about."""
DEAD_CONSUMER_AFTER_SECONDS: Final = 3600.0
"""Seconds after which a consumer that was not heard of is dead: its name is deleted when nothing is pending for it."""
MAX_TRIMMED_ENTRIES: Final = 10_000
"""Entries trimmed in one script, about: it holds the server up for some milliseconds."""


class StreamMaintenance:
    """One member's."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._next = asyncio.get_running_loop().time() + _soon()
        self._warned = False
        self._dead: set[tuple[Address, str]] = set()

    async def run_due(
        self, sessions: Collection[StreamSession], run: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> None:
        """What is due for these streams. ``run`` sends commands; raises what it raises."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + _soon()
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
                "queue %s: what every group has handled is not deleted, and will fill the server's memory: %s",
                address,
                error,
            )

    def _trimmed(self, address: Address, reply: Sequence[Any]) -> None:
        removed, *dead = reply
        if removed >= MAX_TRIMMED_ENTRIES / 2:
            self._next = 0.0  # there is probably more
        groups = {(address, name.decode(errors="replace")) for name in dead}
        for _, group in groups - self._dead:
            logger.warning(
                "queue %s: group %s has no member and has not handled all that it should keep for it; it fills the "
                "server's memory until a member comes, or until the group is deleted (XGROUP DESTROY)",
                address,
                group,
            )
        self._dead = {one for one in self._dead if one[0] != address} | groups


def _soon() -> float:
    return MAINTENANCE_INTERVAL_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - spreads members
