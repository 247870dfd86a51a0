"""Rebalance handling: sessions begin with an assignment, and are drained and committed before they are revoked."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from msgbus_kafka.aiokafka_internals.consumer_state import assignment_is_outdated, coordinator_of, has_coordinator
from msgbus_kafka.consumer.offset_commits import NO_GENERATION, Fenced
from msgbus_kafka.errors import describe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka.structs import TopicPartition

    from msgbus.adapter import SessionListener
    from msgbus.adapter.address import Address
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.consumer.offset_commits import OffsetCommits
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions
    from msgbus_kafka.options import Timing

__all__ = ["RebalanceHandler"]

logger = logging.getLogger("msgbus.kafka")

MAX_NAMED_PARTITIONS: Final = 5
"""Partitions that a log message names, at most."""


class RebalanceHandler(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Receives the coordinator's callbacks; the only place where sessions begin and end.

    ``subscribe()`` drops the assignment at once, so a consumer revokes its sessions *before* it subscribes. A rebalance
    that another member began revokes them in the callback, while the group waits. Both may happen at the same time: one
    lock orders them, and the second finds no session.
    """

    def __init__(
        self,
        client: ConsumerClient,
        listener: SessionListener,
        sessions: PartitionSessions,
        commits: OffsetCommits,
        timing: Timing,
    ) -> None:
        self._client = client
        self._listener = listener
        self._sessions = sessions
        self._commits = commits
        self._timing = timing
        self._lock = asyncio.Lock()
        self._topics: Mapping[str, Address] = {}
        self._closing = False
        self.stable: Final = asyncio.Event()
        """Set while the assignment is that of the last subscription."""
        self.stable.set()
        self._unstable_since = 0.0

    def problem(self) -> str:
        """Say why this member has no partitions; empty during a rebalance within its time."""
        if not has_coordinator(self._client):
            return "kafka: no node is known as the group's coordinator"
        lasts = 0.0 if self.stable.is_set() else asyncio.get_running_loop().time() - self._unstable_since
        return f"kafka: no assignment for {lasts:.0f} s" if lasts > self._timing.rebalance else ""

    def _mark_unstable(self) -> None:
        if self.stable.is_set():
            self._unstable_since = asyncio.get_running_loop().time()
        self.stable.clear()

    def expect(self, topics: Mapping[str, Address]) -> None:
        """Note the topics that are about to be subscribed."""
        self._topics = topics
        self._mark_unstable()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Revoke all sessions for a rebalance. Heartbeats continue meanwhile, and the broker still accepts commits."""
        del revoked  # all of them: the protocol is the eager one
        self._mark_unstable()
        if coordinator_of(self._client).generation == NO_GENERATION:
            self.mark_all_lost()  # the group has moved on; aiokafka has no other callback for it
        else:
            await self.revoke_all(self._timing.drain, self._timing.commit)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin a session for each partition.

        Does not wait: no heartbeat is sent while this runs, and asking the consumer for a position may never return.
        """
        if assignment_is_outdated(self._client):
            return  # of a subscription that was replaced meanwhile; the current one follows
        if not self._closing:
            for partition in sorted(assigned):
                self._listener.begun(self._sessions.begin(partition, self._topics[partition.topic]))
        self.stable.set()

    async def revoke_all(self, budget: float, commit: float) -> bool:
        """Drain and commit every session, then end it. Return False if the last commit failed."""
        async with self._lock:
            sessions = self._sessions.all()
            if not sessions:
                return True
            for session in sessions:
                session.stop()
            try:
                await self._listener.ending(list(sessions), budget)
                return await self._last_commit(sessions, commit)
            finally:
                self._sessions.end(sessions)

    async def _last_commit(self, sessions: list[PartitionSession], wait: float) -> bool:
        try:
            await self._commits.commit(sessions, wait)
        except Fenced:
            self._listener.lost([session for session in sessions if not session.over])
            return False
        except (KafkaError, TimeoutError) as error:
            late = [f"{at.topic}-{at.partition}" for at in (one.partition for one in sessions if one.dirty)]
            logger.warning(
                "kafka: last commit of %d partitions (%s) failed: %s; some of their messages may be delivered again",
                *(len(late), ", ".join(late[:MAX_NAMED_PARTITIONS]), describe(error)),
            )
            return False
        return True

    def mark_all_lost(self) -> None:
        """End every session without a drain."""
        sessions = self._sessions.all()
        self._sessions.end(sessions)
        if sessions:
            self._listener.lost(list(sessions))

    def close(self) -> None:
        """Begin no session any more."""
        self._closing = True
