"""Start-offset check: whether a session starts at the group's commit, and the correction if it does not.

aiokafka falls back to the oldest record whenever it has no commit or no valid offset. Both happen: after an OffsetFetch
answer that it did not understand (:mod:`msgbus_kafka.aiokafka_internals.offset_fetch`), and after a log was truncated.
So the first record of each session is compared with the last commit that this process knows. Where they differ, the
servers are asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.structs import TopicPartition

from msgbus_kafka.admin.groups import committed_offsets
from msgbus_kafka.admin.offsets import log_bounds

if TYPE_CHECKING:
    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.network import Response

__all__ = ["StartDecision", "StartOffsets", "classify_start"]

logger = logging.getLogger("msgbus.kafka")


class StartDecision(NamedTuple):
    """The reaction to a first record: ``seek`` to this offset, and the warning to log."""

    seek: int | None = None
    warning: str = ""


def classify_start(first: int, commit: int | None, kept: int, end: int) -> StartDecision:
    """Decide on a session that starts at ``first``; the other arguments are the servers' current answers."""
    if commit is None or first == commit:
        return StartDecision()  # rewound, or the topic was re-created
    if first < commit <= end:
        return StartDecision(commit, f"it began at {first} and not at its commit {commit}: sent back there")
    if first < commit:
        # Truncated by the election of a replica that lagged, or re-created. New records may be anywhere in the log.
        return StartDecision(
            None, f"its log ends at {end}, before its commit {commit}: every record that it keeps is delivered again"
        )
    if commit < kept:
        return StartDecision(None, f"{kept - commit} records were deleted by retention before the group consumed them")
    return StartDecision()  # gaps of compaction or transactions, or another member was further


class StartOffsets:
    """The last known commits of one group; outlives its consumers."""

    def __init__(self, cluster: AdminClient, topics: Topics, group: str) -> None:
        self._cluster = cluster
        self._topics = topics
        self._group = group
        self._known: dict[TopicPartition, int] = {}

    def record_response(self, response: Response) -> None:
        """Take the commits of an OffsetFetch response."""
        for topic, rows in response.topics:
            for partition, offset, *_ in rows:
                if offset >= 0:
                    self._known[TopicPartition(topic, partition)] = offset

    def committed(self, partition: TopicPartition, offset: int) -> None:
        """Record a confirmed commit."""
        self._known[partition] = offset

    def known(self, partition: TopicPartition) -> int | None:
        """Return the last commit that this process knows."""
        return self._known.get(partition)

    async def check(self, client: ConsumerClient, partition: TopicPartition, first: int) -> bool:
        """Return whether a session may start with ``first``; if not, seek to the group's commit. Raises BrokerError."""
        if self._known.get(partition, first) == first:
            return True
        name, number = partition.topic, partition.partition
        leaders = {number: (await self._topics.state(name)).leaders[number]}
        commit = (await committed_offsets(self._cluster, name, leaders, self._group)).get(number)
        kept, end = (await log_bounds(self._cluster, name, leaders))[number]
        decision = classify_start(first, commit, kept, end)
        if decision.warning:
            logger.warning("queue %s, group %s, partition %d: %s", name, self._group, number, decision.warning)
        if decision.seek is not None:
            client.seek(partition, decision.seek)
        elif commit is not None:
            self._known[partition] = commit
        else:
            self._known.pop(partition, None)
        return decision.seek is None
