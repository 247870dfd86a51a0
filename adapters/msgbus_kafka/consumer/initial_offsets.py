"""Initial offsets: the first commit of a group in a topic. From then on the group exists there.

aiokafka's ``auto_offset_reset="latest"`` does not implement ``start="newest"``: a partition without a commit jumps to
its end at every assignment, also if the partition was added later. A member that leaves before its first commit loses
the messages that arrive meanwhile.

1. The member that owns partition 0 checks whether the group has any commit in the topic.
2. If it has none, this member commits the ends of all partitions in one step. For a group that starts at the oldest
   record it commits the beginning of partition 0.
3. The other members wait for that.
4. From then on, a partition without a commit starts at its oldest record.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from tenacity import wait_fixed

from msgbus.adapter.retrying import wait_until
from msgbus.errors import BrokerError, GroupActive, QueueNotFound
from msgbus_kafka.admin.groups import commit_offsets, committed_offsets
from msgbus_kafka.admin.offsets import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, offsets_at
from msgbus_kafka.aiokafka_internals.consumer_state import assigned_partitions
from msgbus_kafka.errors import describe

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.client_types.consumer import Coordinator

__all__ = ["InitialOffsets", "commit_initial_offsets"]

logger = logging.getLogger("msgbus.kafka")

CHECK_INTERVAL_SECONDS: Final = 0.05
"""Seconds between two checks whether another member has committed the initial offsets."""
COMMIT_TIMEOUT_SECONDS: Final = 1.0
"""Seconds of one try: aiokafka's commit never ends by itself while there is no coordinator."""
OWNER_WAIT_SECONDS: Final = 30.0
"""Seconds that a member waits for the owner of partition 0: a third-party client may never commit."""


class InitialOffsets:
    """Initial offsets of one group, committed by one of its members."""

    def __init__(self, cluster: AdminClient, topics: Topics, group: str) -> None:
        self._cluster = cluster
        self._topics = topics
        self._group = group
        self._committed: set[str] = set()
        self._waiting: dict[str, float] = {}
        self._queues: AbstractSet[str] = frozenset()
        self._newest: AbstractSet[str] = frozenset()

    def expect(self, queues: AbstractSet[str], newest: AbstractSet[str]) -> None:
        """State which topics are about to be subscribed.

        Args:
            queues: Topics that are queues: no initial offset is committed for a retry queue.
            newest: Topics in which a new group starts at the end of the log.
        """
        self._queues, self._newest = queues, newest

    async def pending(self, coordinator: Coordinator, unknown: AbstractSet[str]) -> bool:
        """Return whether to read the commits of ``unknown`` again: the new group's initial offsets are not all there.

        ``unknown`` are topics of which at least one partition has no commit.
        """
        try:
            asked = [self._pending(coordinator, name) for name in unknown & self._queues - self._committed]
            return any(await asyncio.gather(*asked))
        except (BrokerError, KafkaError) as error:
            logger.debug("group %s: committing initial offsets failed: %s; trying again", self._group, describe(error))
            return True

    async def _pending(self, coordinator: Coordinator, name: str) -> bool:
        if await self._group_exists(name):
            return False
        if TopicPartition(name, 0) in assigned_partitions(coordinator):
            return not await self._commit_initial_offsets(coordinator, name) and name in self._newest
        return name in self._newest and self._owner_deadline(name)

    def _owner_deadline(self, name: str) -> bool:
        now = asyncio.get_running_loop().time()
        since = self._waiting.setdefault(name, now)
        if now - since < OWNER_WAIT_SECONDS:
            return True
        logger.warning(
            "queue %s, group %s: no initial offset: the member with partition 0 has not committed one; starting at "
            "the oldest message",
            name,
            self._group,
        )
        return False

    async def wait_until_committed(self, names: AbstractSet[str]) -> None:
        """Wait until the group has a commit in those of ``names`` that it starts at the end of.

        Messages that are published afterwards count for the group.
        """
        for name in sorted(names & self._newest):
            await wait_until(partial(self._group_exists, name), wait=wait_fixed(CHECK_INTERVAL_SECONDS))

    async def _group_exists(self, name: str) -> bool:
        try:
            leaders = (await self._topics.state(name)).leaders
        except QueueNotFound:
            return True  # deleted: do not wait for it
        if there := bool(await committed_offsets(self._cluster, name, leaders, self._group)):
            self._committed.add(name)
        return there

    async def _commit_initial_offsets(self, coordinator: Coordinator, name: str) -> bool:
        """Commit the initial offsets; return whether it succeeded.

        A group that starts at the oldest record does not wait.
        """
        leaders = (await self._topics.state(name)).leaders
        if name in self._newest:
            offsets = await offsets_at(self._cluster, name, leaders, LATEST_TIMESTAMP)
            logger.info(
                "queue %s: group %s is new and starts with messages that are published from now on", name, self._group
            )
        else:
            offsets = await offsets_at(self._cluster, name, {0: leaders[0]}, EARLIEST_TIMESTAMP)
        # As a member: a commit of a generation that is over is refused, so two of them never make it.
        commits = {TopicPartition(name, one): OffsetAndMetadata(offset, "") for one, offset in offsets.items()}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                await coordinator.commit_offsets(None, commits)
        except (KafkaError, TimeoutError) as error:
            logger.debug(
                "queue %s, group %s: committing initial offsets failed: %s", name, self._group, describe(error)
            )
            return False
        self._committed.add(name)
        return name not in self._newest  # the ends have to be fetched as commits now


async def commit_initial_offsets(cluster: AdminClient, topics: Topics, name: str, group: str) -> None:
    """Make ``group`` start at the oldest record of ``name`` if it has no commit there."""
    leaders = (await topics.state(name)).leaders
    if await committed_offsets(cluster, name, leaders, group):
        return
    try:
        await commit_offsets(cluster, name, group, await offsets_at(cluster, name, {0: leaders[0]}, EARLIEST_TIMESTAMP))
    except GroupActive:
        return  # its members commit when they consume this queue
