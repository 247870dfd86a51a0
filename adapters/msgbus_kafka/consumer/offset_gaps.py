"""Offset gaps: detected in every fetch, explained by the log, fetched again, or reported as taken by retention.

The offsets of each list of records are compared with those that the session has had
(:mod:`msgbus_kafka.offset_continuity`). Where offsets are missing and the headers of the fetched batches do not explain
it:

1. Retention has deleted them: the log begins behind them. A WARNING says how many, and the session continues.
2. Nothing explains them: a WARNING, and the partition is fetched again from the beginning of the gap. If the same gap
   is found again, it is a property of the log.

A gap of transactions or compaction costs no request, an unexplained one costs one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiokafka.errors import IllegalStateError

from msgbus.errors import BrokerError
from msgbus_kafka.admin.offsets import log_bounds
from msgbus_kafka.offset_continuity import OffsetGap, find_gaps, has_gap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.aiokafka_internals.fetcher import FetchResponses
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.records import Fetched, FetchedRecord
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["OffsetGaps"]

logger = logging.getLogger("msgbus.kafka")


class OffsetGaps:
    """The gaps in the records that one consumer fetches."""

    def __init__(self, client: ConsumerClient, responses: FetchResponses, group_state: GroupState) -> None:
        self._client = client
        self._responses = responses
        self._group_state = group_state
        self._unexplained_gaps: dict[TopicPartition, Sequence[tuple[int, OffsetGap]]] = {}
        """The unexplained gaps of each partition, each with the index of the record behind it."""

    def split(
        self, fetched: Fetched, sessions: PartitionSessions
    ) -> tuple[dict[TopicPartition, Sequence[FetchedRecord]], dict[TopicPartition, Sequence[FetchedRecord]]]:
        """Divide fetched records into those that continue their session and those that need requests. No I/O.

        The explanation of every gap is taken now: the next fetch replaces it.
        """
        good: dict[TopicPartition, Sequence[FetchedRecord]] = {}
        doubtful: dict[TopicPartition, Sequence[FetchedRecord]] = {}
        self._unexplained_gaps.clear()
        for partition, records in fetched.items():
            if (session := sessions.living(partition)) is None:
                continue
            sound = session.reached >= 0
            if has_gap(expected := session.next_offset if sound else records[0].offset, records):
                self._unexplained_gaps[partition] = self._unexplained(partition, expected, records)
                sound = sound and not self._unexplained_gaps[partition] and records[0].offset > session.reached
            session.explained_until = self._responses.next_offset(partition, records[-1].offset)
            (good if sound else doubtful)[partition] = records
        return good, doubtful

    def _unexplained(
        self, partition: TopicPartition, expected: int, records: Sequence[FetchedRecord]
    ) -> list[tuple[int, OffsetGap]]:
        source = self._responses.batches_of(partition)
        found: list[tuple[int, OffsetGap]] = []
        for index, missing in find_gaps(expected, records):
            left = missing if source is None else source.unexplained(missing)
            if left is not None and left.size > 0:
                found.append((index, left))
        return found

    async def until_first_gap(
        self, session: PartitionSession | None, records: Sequence[FetchedRecord]
    ) -> Sequence[FetchedRecord]:
        """Return the ``records`` before the first gap; the others are fetched again."""
        if session is None:
            return ()
        for index, missing in self._unexplained_gaps.get(session.partition, ()):
            left = missing
            try:
                if missing != session.refetched_gap:
                    left = await self._without_deleted(session, missing)
            except BrokerError as error:
                logger.debug("%r: gap %r could not be checked: %s; trying again", session, missing, error)
            else:
                if left.size <= 0 or left == session.refetched_gap:
                    continue
                self._fetch_again(session, left)
            session.explained_until = left.begin
            self._seek(session, left.begin)
            return records[:index]
        return records

    async def _without_deleted(self, session: PartitionSession, missing: OffsetGap) -> OffsetGap:
        """Return the rest of ``missing`` that retention has not deleted, and log what it has. Raises BrokerError."""
        name, number = session.partition.topic, session.partition.partition
        leaders = {number: (await self._group_state.topics.state(name)).leaders[number]}
        kept, _ = (await log_bounds(self._group_state.cluster, name, leaders))[number]
        if kept <= missing.begin:
            return missing
        gone = min(kept, missing.end)
        logger.warning(
            "queue %s, group %s, partition %d: %d records were deleted by retention before this member had fetched "
            "them (offsets %d to %d); the member continues after them. Give the queue a longer retention=, or the "
            "group more members",
            *(name, self._group_state.group, number, gone - missing.begin, missing.begin, gone - 1),
        )
        return OffsetGap(gone, missing.end)

    def _fetch_again(self, session: PartitionSession, missing: OffsetGap) -> None:
        session.refetched_gap = missing
        logger.warning(
            "queue %s, group %s, partition %d: %d records are missing: offset %d was expected and %d was fetched, and "
            "the log does not explain it; msgbus fetches them again",
            *(session.partition.topic, self._group_state.group, session.partition.partition),
            *(missing.size, missing.begin, missing.end),
        )

    def _seek(self, session: PartitionSession, offset: int) -> None:
        try:
            if session.live:
                self._client.seek(session.partition, offset)
        except IllegalStateError:
            return  # the partition was revoked meanwhile
