"""Fetching partitions one by one, when a record of one of them is corrupt.

aiokafka finds a wrong checksum while it hands records out. What it had taken from other partitions in the same call is
lost with the exception, and their positions have moved on: nobody would ever see those records. Nor does it say which
partition it was, and what is good before the corrupt record comes neither. So all go back to where they were and are
fetched apart from then on: first as much as ever, then, where the error comes again, record by record up to it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiokafka import errors as kafka

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msgbus_kafka.sessions import PartitionSession
    from msgbus_kafka.starts import Starts

__all__ = ["Apart"]

logger = logging.getLogger("msgbus.kafka")


class Apart:
    """Fetches partitions apart."""

    def __init__(self, client: Any, starts: Starts) -> None:
        self._client = client
        self._starts = starts

    async def begin(self, sessions: Iterable[PartitionSession], most: int) -> None:
        """One of them has a corrupt record: from now on ``most`` records of each in a call of its own."""
        for session in sessions:
            if session.most is None:
                session.most = most
                await self._back(session)

    async def fetch(self, session: PartitionSession) -> Mapping[Any, Sequence[Any]]:
        """What there is of ``session``; waits for nothing."""
        try:
            fetched: Mapping[Any, Sequence[Any]] = await self._client.getmany(
                session.partition, timeout_ms=0, max_records=session.most
            )
        except kafka.CorruptRecordException as error:
            if session.most == 1:
                self._give_up(session, error)
                return {}
            session.most = 1
            await self._back(session)
            return {}
        return fetched

    async def _back(self, session: PartitionSession) -> None:
        """To what comes after the last record that was handed over, or to where the session began."""
        begin = session.reached + 1 if session.reached >= 0 else self._starts.known(session.partition)
        try:
            if begin is None:
                await self._client.seek_to_beginning(session.partition)
            else:
                self._client.seek(session.partition, begin)
        except kafka.IllegalStateError:
            return  # it is not ours any more

    def _give_up(self, session: PartitionSession, error: Exception) -> None:
        session.most = 0
        partition = session.partition
        logger.error(
            "queue %s, partition %d: a record at offset %d or just behind it is corrupt on the server (%s): nothing "
            "behind it is handled. Mend the log, or rewind the group behind it",
            partition.topic,
            partition.partition,
            session.reached + 1,
            error,
        )
