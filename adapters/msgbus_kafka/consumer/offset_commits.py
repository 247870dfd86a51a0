"""Offset commits: the watermarks of live sessions, every 200 ms and at the end of a session."""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby
from typing import TYPE_CHECKING, Final

from aiokafka.errors import CommitFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from msgbus_kafka.errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.client_types.consumer import Coordinator
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["COMMIT_REFUSED_TEXT", "Fenced", "OffsetCommits"]

logger = logging.getLogger("msgbus.kafka")

COMMIT_INTERVAL_SECONDS: Final = 0.2
"""Seconds between two commits: a crash repeats the messages finished since. Committing 8 partitions takes 7 ms."""
COMMIT_REFUSED_TEXT: Final = "kafka: commit of generation %d refused: the group has a newer generation; rejoining"
NO_GENERATION: Final = -1


class Fenced(Exception):
    """The group has moved on: no offset of this generation can be committed any more."""


class OffsetCommits:
    """Commits of one consumer, one request at a time."""

    def __init__(
        self,
        coordinator: Coordinator,
        sessions: PartitionSessions,
        wait: float,
        confirmed: Callable[[TopicPartition, int], None],
    ) -> None:
        """Prepare the commits of one consumer.

        Args:
            coordinator: The consumer's group coordinator.
            sessions: The partitions of the consumer.
            wait: Seconds that one commit may take.
            confirmed: Is called with each committed partition and its offset.
        """
        self._confirmed = confirmed
        self._coordinator = coordinator
        self._sessions = sessions
        self._wait = wait
        self._lock = asyncio.Lock()
        self._fenced = NO_GENERATION

    async def run(self) -> None:
        """Commit dirty sessions until cancelled."""
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_SECONDS)
            try:
                await self.commit(self._sessions.all(), self._wait)
            except Fenced:
                continue  # the rebalance callback follows
            except (KafkaError, TimeoutError) as error:
                logger.debug("kafka: committing offsets failed: %s; trying again", describe(error))
            except Exception:
                logger.exception("kafka: committing offsets failed; trying again")

    async def commit(self, sessions: Sequence[PartitionSession], wait: float) -> None:
        """Commit the dirty ones of ``sessions`` within ``wait`` seconds.

        Raises Fenced, TimeoutError or a KafkaError.
        """
        async with asyncio.timeout(wait), self._lock:
            dirty = [session for session in sessions if session.dirty and not session.over]
            if not dirty:
                return
            try:
                async with asyncio.timeout(wait / 2):
                    await self._send(dirty)
            except (TimeoutError, TopicAuthorizationFailedError):
                # aiokafka retries a commit to a deleted topic indefinitely, and delays the other topics of the request.
                # A topic that the user may not read any more makes the whole request fail.
                await self._send_one_by_one(dirty)

    async def _send_one_by_one(self, dirty: Sequence[PartitionSession]) -> None:
        ordered = sorted(dirty, key=lambda session: str(session.partition.topic))
        topics = [list(of_one) for _, of_one in groupby(ordered, key=lambda session: session.partition.topic)]
        ended = await asyncio.gather(*(self._send(of_one) for of_one in topics), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error

    async def _send(self, dirty: Sequence[PartitionSession]) -> None:
        generation = self._coordinator.generation
        # Without a generation the broker takes it for a commit from outside the group.
        if generation in {NO_GENERATION, self._fenced}:
            raise Fenced
        positions = {session: session.position for session in dirty}
        offsets = {session.partition: OffsetAndMetadata(at, "") for session, at in positions.items()}
        try:
            # Not consumer.commit(): that one refuses while subscribe() has already dropped the assignment.
            await self._coordinator.commit_offsets(None, offsets)
        except CommitFailedError as error:
            logger.debug(COMMIT_REFUSED_TEXT, generation)
            self._fenced = generation
            raise Fenced from error
        for session, at in positions.items():
            session.committed(at)
            self._confirmed(session.partition, at)
