"""The watchdog: a consumer that gets nothing although there is something, or has no assignment for long, is replaced.

aiokafka may stand still for ever, as after a rejoin that went wrong. Each partition is watched by itself: one that is
silent among others that flow is as stuck.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgbus.errors import BrokerError, QueueNotFound
from msgbus_kafka.admin.offsets import log_bounds
from msgbus_kafka.aiokafka_internals.consumer_state import fetch_position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["StallWatchdog"]

STALL_CHECK_INTERVAL_SECONDS: Final = 20.0
"""Seconds between two looks; what stands still at two of them does not move any more."""
NO_ASSIGNMENT_TIMEOUT_SECONDS: Final = 120.0
"""Seconds without an assignment: more than the slowest member has to let go, and a new coordinator to be found."""


class StallWatchdog:
    """Looks at one consumer."""

    def __init__(self, client: Any, sessions: PartitionSessions, places: GroupState, settled: asyncio.Event) -> None:
        self._client = client
        self._sessions = sessions
        self._group_state = places
        self._stable = settled
        self._every = STALL_CHECK_INTERVAL_SECONDS
        self._unsettled = 0.0

    async def run(self, on_stall: Callable[[str], None]) -> None:
        """Look for ever; ``stuck`` is told why this consumer should be replaced."""
        before: Mapping[PartitionSession, int] = {}
        while True:
            await asyncio.sleep(self._every)
            self._unsettled = 0.0 if self._stable.is_set() else self._unsettled + self._every
            if self._unsettled >= NO_ASSIGNMENT_TIMEOUT_SECONDS:
                on_stall(f"no assignment for {self._unsettled:g} s")
                return
            behind = await self._behind()
            if still := [session for session, at in behind.items() if before.get(session) == at]:
                on_stall(f"nothing of {still[0].partition.topic} arrives, and there is something")
                return
            before = behind

    async def _behind(self) -> dict[PartitionSession, int]:
        """Sessions that want more of what there is, and how far they are."""
        found: dict[PartitionSession, int] = {}
        hungry = self._sessions.wanting_more()
        for name in {session.partition.topic for session in hungry}:
            try:
                leaders = (await self._group_state.topics.state(name)).leaders
                ends = await log_bounds(self._group_state.cluster, name, leaders)
            except (BrokerError, QueueNotFound):
                continue  # nobody can tell, or it is gone
            for session in hungry:
                partition = session.partition
                if (
                    partition.topic == name
                    and (at := fetch_position(self._client, partition)) < ends.get(partition.partition, (0, 0))[1]
                ):
                    found[session] = at
        return found
