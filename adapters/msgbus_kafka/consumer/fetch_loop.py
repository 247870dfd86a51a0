"""Fetch loop: one task per consumer, never cancelled, that gives each record to its session.

::

    sessions that want more -> fetched together, or by calls of their own (unreadable_records.py)
                    -> start-offset check (start_offsets.py)
                    -> no offset missing (offset_gaps.py, offset_continuity.py) -> fetch buffer of the session
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka

from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, QueueNotFound
from msgbus_kafka.aiokafka_internals.consumer_state import raise_group_error
from msgbus_kafka.aiokafka_internals.fetcher import install_fetcher
from msgbus_kafka.consumer.offset_gaps import OffsetGaps
from msgbus_kafka.consumer.unreadable_records import UnreadableRecordIsolation, concerns_all_partitions
from msgbus_kafka.errors import ACCESS_ERRORS, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka.structs import TopicPartition

    from msgbus.adapter.address import Address
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.records import Fetched
    from msgbus_kafka.consumer.group_state import GroupState
    from msgbus_kafka.consumer.partition_session import PartitionSession, PartitionSessions

__all__ = ["FetchLoop"]

logger = logging.getLogger("msgbus.kafka")

FETCH_WAIT_SECONDS: Final = 0.2
"""Seconds that a fetch waits for records when it asks for every partition."""
PARTIAL_FETCH_WAIT_SECONDS: Final = 0.05
"""The same when some do not: one of them may want more before the end."""
MAX_RECORDS_PER_FETCH: Final = 500
"""Per fetch: they are parsed in one go, 1.4 us each, while nothing else runs."""
MAX_CONSECUTIVE_FETCH_ERRORS: Final = 5
"""Errors in a row after which the consumer is replaced. aiokafka repeats some of its own indefinitely."""
RETRY_INTERVAL_SECONDS: Final = 0.1
MAX_NAMED_PARTITIONS: Final = 3
"""Most stopped or refused partitions that problem() names."""
_HOPELESS: Final[Mapping[type[BaseException], str]] = {
    kafka.InvalidSessionTimeoutError: "session_timeout= is outside the server's group.min.session.timeout.ms and "
    "group.max.session.timeout.ms",
    kafka.InconsistentGroupProtocolError: "the group's other members have another assignor=",
}


class FetchLoop:
    """Fetches records for the sessions that want more. ``failure`` says why the loop ended by itself."""

    def __init__(
        self, client: ConsumerClient, sessions: PartitionSessions, group_state: GroupState, fetched: Callable[[], None]
    ) -> None:
        self._client = client
        self._start_offsets = group_state.start_offsets
        self._sessions = sessions
        self._on_fetched = fetched
        self._arrived = asyncio.Event()
        responses = install_fetcher(client, self._arrived)
        self._isolation = UnreadableRecordIsolation(client, group_state.start_offsets, responses)
        self._offset_gaps = OffsetGaps(client, responses, group_state)
        self._stopped = False
        self._errors = 0
        self.failure: BrokerError | None = None

    def stop(self) -> None:
        """End the loop after the fetch in progress."""
        self._stopped = True
        self._sessions.hunger.set()
        self._arrived.set()

    def problem(self, address: Address) -> str:
        """Name the partitions of a queue that are stopped or refused, with the reason; empty if all are fetched."""
        found = [session.problem for session in self._sessions.all() if session.problem and session.address == address]
        more = [f"and {len(found) - MAX_NAMED_PARTITIONS} more partitions"] if len(found) > MAX_NAMED_PARTITIONS else []
        return "; ".join([*found[:MAX_NAMED_PARTITIONS], *more])

    async def run(self) -> None:
        """Fetch until stop(), or until this consumer cannot fetch any more."""
        try:
            while not self._stopped and self.failure is None:
                await self._round()
        except BrokerError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - receive() has to raise the error that ended the loop
            self.fail(BrokerUnavailable(f"kafka: fetching failed: {error!r}; reopening the consumer"), error)

    async def _round(self) -> None:
        try:
            if not await self._fetch():
                await self._idle()
            self._errors = 0
        except kafka.ConsumerStoppedError:
            self._stopped = True
        except ACCESS_ERRORS as error:
            self.fail(AccessRefused(f"kafka: {describe(error)}"), error)
        except kafka.KafkaError as error:
            await self._count(error)

    async def _fetch(self) -> bool:
        """Fetch once; return False if no session wants more."""
        self._isolation.retry_refused(self._sessions.all())
        wanting = self._sessions.wanting_more()
        if not wanting:
            return False
        self._arrived.clear()
        if not await self._take_available(wanting):
            everyone = all(one.max_records is None for one in wanting) and len(wanting) == self._sessions.fetchable
            await wait_for_event(FETCH_WAIT_SECONDS if everyone else PARTIAL_FETCH_WAIT_SECONDS, self._arrived)
            await self._take_available(wanting)
        return True

    async def _take_available(self, wanting: Sequence[PartitionSession]) -> bool:
        """Buffer the records that aiokafka has for ``wanting``; return False if there are none.

        Waits only for the end of a rebalance. Records are given to their session before the next request, which could
        fail.
        """
        together = [one for one in wanting if one.max_records is None]
        found = bool(together) and await self._buffer(await self._fetch_together(together))
        for session in wanting:
            if session.max_records:
                found = await self._buffer(await self._isolation.fetch(session)) or found
        return found

    async def _fetch_together(self, sessions: Sequence[PartitionSession]) -> Fetched:
        # A partition that is left out keeps the records that aiokafka has prefetched, and is fetched no further. If it
        # were paused, they would be discarded and fetched again at every turn. So only stopped partitions are paused.
        everyone = len(sessions) == self._sessions.fetchable
        chosen = () if everyone else [session.partition for session in sessions]
        try:
            fetched: Fetched = await self._client.getmany(*chosen, timeout_ms=0, max_records=MAX_RECORDS_PER_FETCH)
        except Exception as error:
            if concerns_all_partitions(self._client, error):
                raise
            self._isolation.begin(sessions, error, MAX_RECORDS_PER_FETCH)
            return {}
        return fetched

    async def _buffer(self, fetched: Fetched) -> bool:
        if not fetched:
            return False
        begun, fresh = self._offset_gaps.split(fetched, self._sessions)
        if begun and self._sessions.buffer(begun):
            self._on_fetched()
        for partition, records in fresh.items():
            if await self._may_start_at(partition, records[0].offset):
                good = await self._offset_gaps.until_first_gap(self._sessions.living(partition), records)
                if good and self._sessions.buffer({partition: good}):
                    self._on_fetched()
        return True

    async def _may_start_at(self, partition: TopicPartition, first: int) -> bool:
        """Return whether a session may continue with ``first``, by the group's commits and the log."""
        session = self._sessions.living(partition)
        if session is None:
            return False
        if session.reached >= first:
            raise BrokerUnavailable(
                f"kafka: {partition.topic}-{partition.partition}: offset went back from {session.reached} to {first}: "
                "the topic was re-created or its log truncated; reopening the consumer"
            )
        if session.reached >= 0:
            return True
        try:
            return await self._start_offsets.check(self._client, partition, first)
        except QueueNotFound:
            return True  # the topic was deleted meanwhile; its fetched records are valid
        except BrokerError as error:
            logger.debug("queue %s: reading the group's start offset failed: %s; trying again", partition.topic, error)
            if self._sessions.living(partition) is session:
                self._client.seek(partition, first)
            return False

    async def _idle(self) -> None:
        raise_group_error(self._client)  # while idle there is no getmany() that would raise it
        self._sessions.hunger.clear()
        await wait_for_event(FETCH_WAIT_SECONDS, self._sessions.hunger)

    async def _count(self, error: kafka.KafkaError) -> None:
        self._errors += 1
        logger.debug("kafka: fetching failed %d times in a row: %s", self._errors, describe(error))
        if type(error) in _HOPELESS:
            self.fail(BrokerUnavailable(f"kafka: {_HOPELESS[type(error)]}"), error)
        elif self._errors >= MAX_CONSECUTIVE_FETCH_ERRORS and not error.retriable:
            self.fail(
                BrokerUnavailable(
                    f"kafka: fetching failed {self._errors} times in a row: {describe(error)}; reopening the consumer"
                ),
                error,
            )
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    def fail(self, failure: BrokerError, cause: BaseException | None = None) -> None:
        """End the loop with ``failure``; receive() raises it."""
        failure.__cause__ = cause or failure.__cause__
        self.failure = failure
        self._on_fetched()
