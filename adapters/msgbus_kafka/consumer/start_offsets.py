"""Where a partition should begin, and what to do about one that begins elsewhere.

aiokafka falls back to the oldest record whenever it has no commit or no valid offset: after an answer that it did not
understand (see guard), and after a log that was cut off. So the first record of each session is compared with the
group's last commit that this process knows, and where the two differ the servers are asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.structs import TopicPartition

from msgbus_kafka.admin.groups import committed_offsets
from msgbus_kafka.admin.offsets import log_bounds

if TYPE_CHECKING:
    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.topics import Topics

__all__ = ["StartDecision", "StartOffsets", "classify_start"]

logger = logging.getLogger("msgbus.kafka")


class StartDecision(NamedTuple):
    """What to do about a first record: ``seek`` to there, and what to say."""

    seek: int | None = None
    warning: str = ""


def classify_start(first: int, commit: int | None, kept: int, end: int) -> StartDecision:
    """``first`` is the first record's offset, the rest is what the servers say now."""
    if commit is None or first == commit:
        return StartDecision()  # rewound, or made anew
    if first < commit <= end:
        return StartDecision(commit, f"it began at {first} and not at its commit {commit}: sent back there")
    if first < commit:
        # Cut off by an election of a replica that lagged, or made anew. What is new may lie anywhere in it.
        return StartDecision(
            None, f"its log ends at {end}, before its commit {commit}: all that it keeps comes once more"
        )
    if commit < kept:
        return StartDecision(None, f"{kept - commit} records were deleted by retention before the group consumed them")
    return StartDecision()  # gaps of compaction or transactions, or another member was further


class StartOffsets:
    """The last known commits of one group; it outlives its consumers."""

    def __init__(self, cluster: AdminClient, topics: Topics, group: str) -> None:
        self._cluster = cluster
        self._topics = topics
        self._group = group
        self._known: dict[Any, int] = {}

    def record_response(self, response: Any) -> None:
        """An OffsetFetch was answered."""
        for topic, rows in response.topics:
            for partition, offset, *_ in rows:
                if offset >= 0:
                    self._known[TopicPartition(topic, partition)] = offset

    def committed(self, partition: Any, offset: int) -> None:
        """A commit was confirmed."""
        self._known[partition] = offset

    def known(self, partition: Any) -> int | None:
        """The last commit that this process knows."""
        return self._known.get(partition)

    async def check(self, client: Any, partition: Any, first: int) -> bool:
        """Whether a session may begin with ``first``; if not, the client was sent elsewhere. Raises BrokerError."""
        if self._known.get(partition, first) == first:
            return True
        name, number = partition.topic, partition.partition
        leaders = {number: (await self._topics.state(name)).leaders[number]}
        commit = (await committed_offsets(self._cluster, name, leaders, self._group)).get(number)
        kept, end = (await log_bounds(self._cluster, name, leaders))[number]
        verdict = classify_start(first, commit, kept, end)
        if verdict.warning:
            logger.warning("queue %s, group %s, partition %d: %s", name, self._group, number, verdict.warning)
        if verdict.seek is not None:
            client.seek(partition, verdict.seek)
        elif commit is not None:
            self._known[partition] = commit
        else:
            self._known.pop(partition, None)
        return verdict.seek is None
