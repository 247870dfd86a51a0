"""Gaps in what is fetched: told from the log's own, filled where they are not, and told of where retention made them.

Of each list of records the offsets are compared with what the session has had (``continuity``). Where some are missing
and the headers of the fetched batches do not explain it:

1. Retention has taken them: the log begins behind them. A WARNING says how many, and the session goes on.
2. Nothing explains it: a WARNING, and the partition is fetched again from where the gap begins. A gap that comes once
   more is the log's own.

So a gap of transactions or compaction costs no request, and one that nothing explains costs one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError

from msgbus.errors import BrokerError
from msgbus_kafka.admin.offsets import log_bounds
from msgbus_kafka.offset_continuity import OffsetGap, find_gaps, has_gap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus_kafka.aiokafka_internals.fetcher import FetchResponses
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["OffsetGaps"]

logger = logging.getLogger("msgbus.kafka")


class OffsetGaps:
    """The gaps in what one consumer fetches."""

    def __init__(self, client: Any, responses: FetchResponses, places: GroupState) -> None:
        self._client = client
        self._responses = responses
        self._group_state = places
        self._unexplained_gaps: dict[Any, Sequence[tuple[int, OffsetGap]]] = {}
        """The unexplained gaps of each partition, each with the index of the record behind it."""

    def split(
        self, fetched: Mapping[Any, Sequence[Any]], sessions: PartitionSessions
    ) -> tuple[dict[Any, Sequence[Any]], dict[Any, Sequence[Any]]]:
        """Divide what was fetched into what goes on where its session is, and what must be looked into. No I/O.

        What explains a gap is asked for all partitions at once: after the next fetch it is gone.
        """
        good: dict[Any, Sequence[Any]] = {}
        doubtful: dict[Any, Sequence[Any]] = {}
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

    def _unexplained(self, partition: Any, expected: int, records: Sequence[Any]) -> list[tuple[int, OffsetGap]]:
        source = self._responses.batches_of(partition)
        found: list[tuple[int, OffsetGap]] = []
        for index, missing in find_gaps(expected, records):
            left = missing if source is None else source.unexplained(missing)
            if left is not None and left.size > 0:
                found.append((index, left))
        return found

    async def until_first_gap(self, session: PartitionSession | None, records: Sequence[Any]) -> Sequence[Any]:
        """Return those of ``records`` before which nothing is missing; the rest is fetched again."""
        if session is None:
            return ()
        for index, missing in self._unexplained_gaps.get(session.partition, ()):
            left = missing
            try:
                if missing != session.refetched_gap:
                    left = await self._without_deleted(session, missing)
            except BrokerError as error:
                logger.debug("%r: whether %r is a gap is not known, trying again: %s", session, missing, error)
            else:
                if left.size <= 0 or left == session.refetched_gap:
                    continue
                self._fetch_again(session, left)
            session.explained_until = left.begin
            self._seek(session, left.begin)
            return records[:index]
        return records

    async def _without_deleted(self, session: PartitionSession, missing: OffsetGap) -> OffsetGap:
        """Return what retention has left of ``missing``, and tell of what it took. Raises BrokerError."""
        name, number = session.partition.topic, session.partition.partition
        leaders = {number: (await self._group_state.topics.state(name)).leaders[number]}
        kept, _ = (await log_bounds(self._group_state.cluster, name, leaders))[number]
        if kept <= missing.begin:
            return missing
        gone = min(kept, missing.end)
        logger.warning(
            "queue %s, group %s, partition %d: %d records were deleted by retention before this member had fetched "
            "them (offsets %d to %d); it goes on behind them. Give the queue a longer retention=, or the group more "
            "members",
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
            return  # it is not ours any more
