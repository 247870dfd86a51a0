"""Isolation of partitions that cannot be read.

``getmany()`` over several partitions raises the error of one of them: a checksum, a codec that is not installed, a
header, anything. The exception does not say which partition it was, and the records that aiokafka had taken from others
in the same call are lost with it, although their positions have moved on.

After such an error:

1. Every partition that took part is sought back to the record after the last one that was handed over.
2. Each of them is fetched by a call of its own. One that fails is at fault; the others are fetched together again.
3. The partition at fault is fetched in halves, down to single records. What lies before the fault is handed over.
4. At the fault the partition is stopped with one ERROR, and paused, for as long as this session lasts. A header name
   that is no UTF-8 is no fault: the partition is read leniently from then on.

What the broker refuses (the right to read a topic, or an error of its storage) may heal: that partition is paused and
tried again after 1 s, 2 s, 4 s, up to 15 s. It is told once when it begins and once when it ends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka

from msgbus_kafka.errors import Refused, concerns_one, reason, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msgbus_kafka.aiokafka_internals.fetcher import Tap
    from msgbus_kafka.consumer.partition_session import PartitionSession
    from msgbus_kafka.consumer.start_offsets import Starts

__all__ = ["Apart", "whole"]

logger = logging.getLogger("msgbus.kafka")

SUSPECTED: Final = 5.0
"""Seconds that partitions are fetched apart when none of them fails: what was wrong has passed by itself."""
SOONEST: Final = 1.0
LATEST: Final = 15.0
"""Seconds between two tries of a partition that the broker refuses, at first and at most."""
_CODEC: Final = 'run pip install "msgbus[kafka]" and start again'
_RECORD: Final = "mend the log, or rewind the group behind it"


def whole(client: Any, error: Exception) -> bool:
    """Whether ``error`` out of getmany() is about the group or the connection, and so about every partition."""
    try:
        client._coordinator.check_errors()  # noqa: SLF001 - what ended the group is raised by every getmany()
    except Exception:  # noqa: BLE001 - only whether it raises is of interest
        return True
    return not concerns_one(error)


class Apart:
    """Fetches partitions apart."""

    def __init__(self, client: Any, starts: Starts, tap: Tap) -> None:
        self._client = client
        self._starts = starts
        self._tap = tap
        self._suspects: list[PartitionSession] = []
        self._until = 0.0
        self._told: dict[Any, int] = {}

    def begin(self, sessions: Iterable[PartitionSession], error: Exception, most: int) -> None:
        """Find out which of ``sessions``, whose records were fetched together, is at fault.

        From now on ``most`` records of each are fetched by a call of its own.
        """
        logger.debug("fetching raised %r: looking for the partition at fault", error)
        sessions = list(sessions)
        # aiokafka raises what the broker answered before it has taken anything, and it names topic or partition, maybe
        # one that is paused by now.
        if isinstance(error, (kafka.TopicAuthorizationFailedError, Refused)):
            for session in sessions:
                if session.partition.topic in error.args or session.partition == getattr(error, "partition", None):
                    self._refuse(session, error)
            return
        for session in sessions:
            session.most = session.doubt = most
            self._back(session)
        self._suspects += sessions
        self._until = asyncio.get_running_loop().time() + SUSPECTED

    async def fetch(self, session: PartitionSession) -> Mapping[Any, Sequence[Any]]:
        """Return what there is of ``session``; waits for nothing. Raises what is not about this partition alone."""
        try:
            fetched: Mapping[Any, Sequence[Any]] = await self._client.getmany(
                session.partition, timeout_ms=0, max_records=session.most
            )
        except Exception as error:
            if whole(self._client, error):
                raise
            self._failed(session, error)
            return {}
        session.doubt -= len(fetched.get(session.partition, ()))
        if session.refusals:
            self._perhaps_allowed(session)
        elif session.doubt <= 0 or (session in self._suspects and self._until < asyncio.get_running_loop().time()):
            session.most = None
        return fetched

    def due(self, sessions: Iterable[PartitionSession]) -> None:
        """Try again those whose time has come."""
        now = asyncio.get_running_loop().time()
        for session in sessions:
            if session.again and session.again <= now and session.live:
                session.again = 0.0
                session.most = session.doubt = 1
                self._tap.refused.add(session.partition)  # until a response says otherwise
                self._resume(session)

    def _failed(self, session: PartitionSession, error: Exception) -> None:
        self._back(session)
        if session in self._suspects:
            self._acquit(session)
        if isinstance(error, (kafka.TopicAuthorizationFailedError, Refused)):
            self._refuse(session, error)
        elif isinstance(error, UnicodeDecodeError) and self._tap.lenient(session.partition):
            return
        elif session.most == 1:
            self._give_up(session, error)
        else:
            # It lies within what was asked for; once all of that has been read, it is behind us.
            session.doubt = session.most or 1
            session.most = session.doubt // 2

    def _acquit(self, guilty: PartitionSession) -> None:
        """Fetch all but ``guilty`` together again."""
        suspects, self._suspects = self._suspects, []
        for session in suspects:
            if session is not guilty and session.most:
                session.most = None

    def _back(self, session: PartitionSession) -> None:
        """Seek to the record after the last one that was handed over, or to where the session began."""
        begin = self._place(session)
        try:
            if begin is not None and session.live:
                self._client.seek(session.partition, begin)
        except kafka.IllegalStateError:
            return  # it is not ours any more

    def _place(self, session: PartitionSession) -> int | None:
        """Return the offset that should come next; None where nothing was ever fetched, so that nothing has moved.

        Asking aiokafka for the beginning of a log takes the time of a fetch, and all partitions would stand still.
        """
        if session.reached >= 0:
            return session.reached + 1
        if (source := self._tap.source(session.partition)) is not None:
            return source.begins
        return self._starts.known(session.partition)

    def _refuse(self, session: PartitionSession, error: Exception) -> None:
        session.refusals += 1
        wait = min(SOONEST * 2.0 ** (session.refusals - 1), LATEST)
        session.again = asyncio.get_running_loop().time() + wait
        session.most = 0
        self._pause(session)
        forbidden = isinstance(error, kafka.TopicAuthorizationFailedError)
        what = "the right to read it is missing" if forbidden else f"the broker gives no records of it: {reason(error)}"
        why = f"{_words(session)}: {what}"
        if session.trouble != why:
            session.trouble = why
            logger.warning("%s; msgbus tries it again at least every %g s, and all other partitions go on", why, LATEST)

    def _perhaps_allowed(self, session: PartitionSession) -> None:
        if session.partition in self._tap.refused:
            return  # it has not been answered yet
        session.refusals, session.most, session.trouble = 0, None, ""
        logger.warning("%s: the broker gives its records again; msgbus goes on", _words(session))

    def _give_up(self, session: PartitionSession, error: Exception) -> None:
        session.most = 0
        self._pause(session)
        offset = self._place(session) or 0
        session.trouble = f"{_words(session)}: a record at offset {offset} or just behind it {unreadable(error)}"
        if self._told.get(session.partition) == offset:
            return
        self._told[session.partition] = offset
        remedy = _CODEC if isinstance(error, kafka.UnsupportedCodecError) else _RECORD
        logger.error("%s: nothing behind it is handled; %s", session.trouble, remedy)

    def _pause(self, session: PartitionSession) -> None:
        try:
            if session.live:  # else it may be a newer session's
                self._client.pause(session.partition)
        except kafka.IllegalStateError:
            return  # it is not ours any more

    def _resume(self, session: PartitionSession) -> None:
        try:
            self._client.resume(session.partition)
        except kafka.IllegalStateError:
            return  # it is not ours any more


def _words(session: PartitionSession) -> str:
    return f"queue {session.partition.topic}, partition {session.partition.partition}"
