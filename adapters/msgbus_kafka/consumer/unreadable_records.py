"""Isolation of partitions that contain an unreadable record.

``getmany()`` over several partitions raises the error of one of them: a checksum, a codec that is not installed, a
header, or anything else. The exception does not name the partition. Records that aiokafka had already taken from other
partitions in the same call are lost with it, although their positions have advanced.

After such an error:

1. Every partition of the call is sought back to the record after the last one that was handed over.
2. Each of them is fetched by a call of its own. One that fails is at fault; the others are fetched together again.
3. The partition at fault is fetched in halves, down to single records. Records before the fault are handed over.
4. At the fault the partition is stopped with one ERROR, and paused for the rest of this session. A header name that is
   not UTF-8 is no fault: the partition is read leniently from then on.

A refusal of the broker (a missing right to read a topic, or a storage error) may end by itself. Its partition is paused
and tried again after 1 s, 2 s, 4 s, up to 15 s. One WARNING is logged when the refusal begins, one when it ends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka

from msgbus.adapter.retrying import Backoff
from msgbus_kafka.aiokafka_internals.consumer_state import raise_group_error
from msgbus_kafka.errors import FetchRefused, concerns_one_partition, describe, describe_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.aiokafka_internals.fetcher import FetchResponses
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.records import Fetched
    from msgbus_kafka.consumer.partition_session import PartitionSession
    from msgbus_kafka.consumer.start_offsets import StartOffsets

__all__ = ["UnreadableRecordIsolation", "concerns_all_partitions"]

logger = logging.getLogger("msgbus.kafka")

SUSPICION_SECONDS: Final = 5.0
"""Seconds of calls of their own for partitions none of which fails: the fault has passed by itself."""
REFUSED_BACKOFF: Final = Backoff(first=1.0, most=15.0)
"""Seconds between two tries of a partition that the broker refuses."""
_CODEC_REMEDY: Final = 'run pip install "msgbus[kafka]" and start again'
_RECORD_REMEDY: Final = "mend the log, or rewind the group behind it"


def concerns_all_partitions(client: ConsumerClient, error: Exception) -> bool:
    """Return whether ``error`` of getmany() is about the group or the connection, and so about every partition."""
    try:
        raise_group_error(client)  # every getmany() raises what ended the group
    except Exception:  # noqa: BLE001 - only whether it raises is of interest
        return True
    return not concerns_one_partition(error)


class UnreadableRecordIsolation:
    """Fetches suspected partitions by calls of their own."""

    def __init__(self, client: ConsumerClient, starts: StartOffsets, responses: FetchResponses) -> None:
        self._client = client
        self._start_offsets = starts
        self._responses = responses
        self._suspects: list[PartitionSession] = []
        self._suspected_until = 0.0
        self._logged: dict[TopicPartition, int] = {}

    def begin(self, sessions: Iterable[PartitionSession], error: Exception, max_records: int) -> None:
        """Start to look for the partition at fault among ``sessions``, whose records were fetched together.

        From now on each of them is fetched by a call of its own, ``max_records`` at a time.
        """
        logger.debug("kafka: fetch failed: %r; looking for the partition at fault", error)
        sessions = list(sessions)
        # aiokafka raises a broker's refusal before it returns any records. The error names a topic or partition, which
        # may be paused by now.
        if isinstance(error, (kafka.TopicAuthorizationFailedError, FetchRefused)):
            for session in sessions:
                if session.partition.topic in error.args or session.partition == getattr(error, "partition", None):
                    self._handle_refusal(session, error)
            return
        for session in sessions:
            session.max_records = session.suspect_records = max_records
            self._seek_back(session)
        self._suspects += sessions
        self._suspected_until = asyncio.get_running_loop().time() + SUSPICION_SECONDS

    async def fetch(self, session: PartitionSession) -> Fetched:
        """Return the records that aiokafka has of ``session``, without waiting.

        Raises an error that concerns more than this partition.
        """
        try:
            fetched: Fetched = await self._client.getmany(
                session.partition, timeout_ms=0, max_records=session.max_records
            )
        except Exception as error:
            if concerns_all_partitions(self._client, error):
                raise
            self._handle_failure(session, error)
            return {}
        session.suspect_records -= len(fetched.get(session.partition, ()))
        if session.refusals:
            self._end_refusal(session)
        elif session.suspect_records <= 0 or (
            session in self._suspects and self._suspected_until < asyncio.get_running_loop().time()
        ):
            session.max_records = None
        return fetched

    def retry_refused(self, sessions: Iterable[PartitionSession]) -> None:
        """Try the refused partitions whose wait is over."""
        now = asyncio.get_running_loop().time()
        for session in sessions:
            if session.retry_at and session.retry_at <= now and session.live:
                session.retry_at = 0.0
                session.max_records = session.suspect_records = 1
                self._responses.refused.add(session.partition)  # until a response says otherwise
                self._resume(session)

    def _handle_failure(self, session: PartitionSession, error: Exception) -> None:
        self._seek_back(session)
        if session in self._suspects:
            self._release_suspects(session)
        if isinstance(error, (kafka.TopicAuthorizationFailedError, FetchRefused)):
            self._handle_refusal(session, error)
        elif isinstance(error, UnicodeDecodeError) and self._responses.read_leniently(session.partition):
            return
        elif session.max_records == 1:
            self._stop_partition(session, error)
        else:
            # The fault is within these records; once all of them have been read, it is passed.
            session.suspect_records = session.max_records or 1
            session.max_records = session.suspect_records // 2

    def _release_suspects(self, guilty: PartitionSession) -> None:
        """Fetch all but ``guilty`` together again."""
        suspects, self._suspects = self._suspects, []
        for session in suspects:
            if session is not guilty and session.max_records:
                session.max_records = None

    def _seek_back(self, session: PartitionSession) -> None:
        """Seek to the record after the last one that was handed over, or to where the session began."""
        begin = self._next_offset(session)
        try:
            if begin is not None and session.live:
                self._client.seek(session.partition, begin)
        except kafka.IllegalStateError:
            return  # the partition was revoked meanwhile

    def _next_offset(self, session: PartitionSession) -> int | None:
        """Return the offset that should come next; None if nothing was fetched, so that no position has moved.

        Asking aiokafka for the beginning of a log takes as long as a fetch, and all partitions would wait for it.
        """
        if session.reached >= 0:
            return session.reached + 1
        if (source := self._responses.batches_of(session.partition)) is not None:
            return source.fetch_offset
        return self._start_offsets.known(session.partition)

    def _handle_refusal(self, session: PartitionSession, error: Exception) -> None:
        session.refusals += 1
        session.retry_at = asyncio.get_running_loop().time() + REFUSED_BACKOFF.longest(session.refusals)
        session.max_records = 0
        self._pause(session)
        forbidden = isinstance(error, kafka.TopicAuthorizationFailedError)
        what = (
            "the right to read it is missing" if forbidden else f"the broker gives no records of it: {describe(error)}"
        )
        why = f"{_describe(session)}: {what}"
        if session.problem != why:
            session.problem = why
            logger.warning(
                "%s; msgbus tries it again at least every %g s, and all other partitions go on",
                why,
                REFUSED_BACKOFF.most,
            )

    def _end_refusal(self, session: PartitionSession) -> None:
        if session.partition in self._responses.refused:
            return  # no response yet
        session.refusals, session.max_records, session.problem = 0, None, ""
        logger.warning("%s: the broker gives its records again; msgbus goes on", _describe(session))

    def _stop_partition(self, session: PartitionSession, error: Exception) -> None:
        session.max_records = 0
        self._pause(session)
        offset = self._next_offset(session) or 0
        session.problem = (
            f"{_describe(session)}: a record at offset {offset} or just behind it {describe_unreadable(error)}"
        )
        if self._logged.get(session.partition) == offset:
            return
        self._logged[session.partition] = offset
        remedy = _CODEC_REMEDY if isinstance(error, kafka.UnsupportedCodecError) else _RECORD_REMEDY
        logger.error("%s: nothing behind it is handled; %s", session.problem, remedy)

    def _pause(self, session: PartitionSession) -> None:
        try:
            if session.live:  # otherwise a newer session may own the partition
                self._client.pause(session.partition)
        except kafka.IllegalStateError:
            return  # the partition was revoked meanwhile

    def _resume(self, session: PartitionSession) -> None:
        try:
            self._client.resume(session.partition)
        except kafka.IllegalStateError:
            return  # the partition was revoked meanwhile


def _describe(session: PartitionSession) -> str:
    return f"queue {session.partition.topic}, partition {session.partition.partition}"
