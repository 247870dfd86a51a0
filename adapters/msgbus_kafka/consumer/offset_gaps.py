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
from msgbus_kafka.admin.offsets import log
from msgbus_kafka.offset_continuity import Gap, gap, gaps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus_kafka.aiokafka_internals.fetcher import Tap
    from msgbus_kafka.consumer.group_state import Places
    from msgbus_kafka.consumer.partition_session import PartitionSession, Sessions

__all__ = ["Gaps"]

logger = logging.getLogger("msgbus.kafka")


class Gaps:
    """The gaps in what one consumer fetches."""

    def __init__(self, client: Any, tap: Tap, places: Places) -> None:
        self._client = client
        self._tap = tap
        self._places = places
        self._found: dict[Any, Sequence[tuple[int, Gap]]] = {}
        """The unexplained gaps of each partition, each with the index of the record behind it."""

    def split(
        self, fetched: Mapping[Any, Sequence[Any]], sessions: Sessions
    ) -> tuple[dict[Any, Sequence[Any]], dict[Any, Sequence[Any]]]:
        """Divide what was fetched into what goes on where its session is, and what must be looked into. No I/O.

        What explains a gap is asked for all partitions at once: after the next fetch it is gone.
        """
        good: dict[Any, Sequence[Any]] = {}
        doubtful: dict[Any, Sequence[Any]] = {}
        self._found.clear()
        for partition, records in fetched.items():
            if (session := sessions.living(partition)) is None:
                continue
            sound = session.reached >= 0
            if gap(expected := session.expected if sound else records[0].offset, records):
                self._found[partition] = self._unexplained(partition, expected, records)
                sound = sound and not self._found[partition] and records[0].offset > session.reached
            session.ahead = self._tap.passed(partition, records[-1].offset)
            (good if sound else doubtful)[partition] = records
        return good, doubtful

    def _unexplained(self, partition: Any, expected: int, records: Sequence[Any]) -> list[tuple[int, Gap]]:
        source = self._tap.source(partition)
        found: list[tuple[int, Gap]] = []
        for index, missing in gaps(expected, records):
            left = missing if source is None else source.unexplained(missing)
            if left is not None and left.size > 0:
                found.append((index, left))
        return found

    async def filled(self, session: PartitionSession | None, records: Sequence[Any]) -> Sequence[Any]:
        """Return those of ``records`` before which nothing is missing; the rest is fetched again."""
        if session is None:
            return ()
        for index, missing in self._found.get(session.partition, ()):
            left = missing
            try:
                if missing != session.verified:
                    left = await self._kept(session, missing)
            except BrokerError as error:
                logger.debug("%r: whether %r is a gap is not known, trying again: %s", session, missing, error)
            else:
                if left.size <= 0 or left == session.verified:
                    continue
                self._doubt(session, left)
            session.ahead = left.begin
            self._seek(session, left.begin)
            return records[:index]
        return records

    async def _kept(self, session: PartitionSession, missing: Gap) -> Gap:
        """Return what retention has left of ``missing``, and tell of what it took. Raises BrokerError."""
        name, number = session.partition.topic, session.partition.partition
        leaders = {number: (await self._places.topics.state(name)).leaders[number]}
        kept, _ = (await log(self._places.cluster, name, leaders))[number]
        if kept <= missing.begin:
            return missing
        gone = min(kept, missing.end)
        logger.warning(
            "queue %s, group %s, partition %d: %d records were deleted by retention before this member had fetched "
            "them (offsets %d to %d); it goes on behind them. Give the queue a longer retention=, or the group more "
            "members",
            *(name, self._places.group, number, gone - missing.begin, missing.begin, gone - 1),
        )
        return Gap(gone, missing.end)

    def _doubt(self, session: PartitionSession, missing: Gap) -> None:
        session.verified = missing
        logger.warning(
            "queue %s, group %s, partition %d: %d records are missing: offset %d was expected and %d was fetched, and "
            "the log does not explain it; msgbus fetches them again",
            *(session.partition.topic, self._places.group, session.partition.partition),
            *(missing.size, missing.begin, missing.end),
        )

    def _seek(self, session: PartitionSession, offset: int) -> None:
        try:
            if session.live:
                self._client.seek(session.partition, offset)
        except IllegalStateError:
            return  # it is not ours any more
