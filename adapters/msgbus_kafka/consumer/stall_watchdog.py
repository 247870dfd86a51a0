"""Stall watchdog: replaces a consumer that does not advance, or that has no assignment for long.

aiokafka may stop fetching indefinitely, for instance after a failed rejoin. Each partition is checked by itself: one
that is stalled among others that advance counts as well.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgbus.errors import BrokerError, QueueNotFound
from msgbus_kafka.admin.offsets import log_bounds
from msgbus_kafka.aiokafka_internals.consumer_state import fetch_position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["StallWatchdog"]

STALL_CHECK_INTERVAL_SECONDS: Final = 20.0
"""Seconds between two checks. A partition that has not advanced between them is stalled."""
NO_ASSIGNMENT_TIMEOUT_SECONDS: Final = 120.0
"""Seconds without an assignment: longer than the slowest member may drain and a new coordinator takes."""


class StallWatchdog:
    """Checks one consumer."""

    def __init__(
        self, client: ConsumerClient, sessions: PartitionSessions, group_state: GroupState, stable: asyncio.Event
    ) -> None:
        self._client = client
        self._sessions = sessions
        self._group_state = group_state
        self._stable = stable
        self._every = STALL_CHECK_INTERVAL_SECONDS
        self._unstable_for = 0.0

    async def run(self, on_stall: Callable[[str], None]) -> None:
        """Check until cancelled; call ``on_stall`` with the reason to replace the consumer."""
        before: Mapping[PartitionSession, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(self._every)
            self._unstable_for = 0.0 if self._stable.is_set() else self._unstable_for + self._every
            if self._unstable_for >= NO_ASSIGNMENT_TIMEOUT_SECONDS:
                on_stall(f"no assignment for {self._unstable_for:g} s")
                return
            behind = await self._behind()
            for session, (position, end) in behind.items():
                if session in before and before[session][0] == position:
                    on_stall(
                        f"{session.partition.topic}-{session.partition.partition} has not advanced past offset "
                        f"{position} for {self._every:g} s (log end {end})"
                    )
                    return
            before = behind

    async def _behind(self) -> dict[PartitionSession, tuple[int, int]]:
        """Return position and log end of the sessions that want more records, where the log has some."""
        found: dict[PartitionSession, tuple[int, int]] = {}
        wanting = self._sessions.wanting_more()
        for name in {session.partition.topic for session in wanting}:
            try:
                leaders = (await self._group_state.topics.state(name)).leaders
                ends = await log_bounds(self._group_state.cluster, name, leaders)
            except (BrokerError, QueueNotFound):
                continue  # no broker answers, or the topic was deleted
            for session in wanting:
                partition = session.partition
                end = ends.get(partition.partition, (0, 0))[1]
                if partition.topic == name and (position := fetch_position(self._client, partition)) < end:
                    found[session] = (position, end)
        return found
