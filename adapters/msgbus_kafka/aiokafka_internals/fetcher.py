"""Changes to aiokafka's fetcher: records are announced at once, idle nodes are asked less often, errors are raised.

aiokafka 0.14:

- It wakes the reader of fetched records four event-loop turns late, and builds the next request before: 0.2 ms, as long
  as the rest of a message's way to its callback. Here an event is set at once, and the next request waits for the
  callback. Tests: test_fetcher.py.
- Where a fetch brought nothing, the next request may wait longer at the broker (106 to 45 CPU ms/s for 50 idle queues).
- It only logs an error of one partition that it does not know, and asks again at once, indefinitely. Here
  ``FetchResponses`` keeps the other contents of a response, and raises such an error. Tests:
  test_unreadable_records.py, test_offset_gaps.py.

Remove when aiokafka raises unknown partition errors and wakes its readers before it builds the next request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from msgbus_kafka.errors import FetchRefused
from msgbus_kafka.offset_continuity import FetchedBatches, OffsetGap

if TYPE_CHECKING:
    from msgbus_kafka.client_types.consumer import (
        Assignment,
        ConsumerClient,
        Fetcher,
        FetchRequest,
        PartitionRecords,
    )
    from msgbus_kafka.client_types.network import Response

__all__ = ["FetchResponses", "install_fetcher"]

logger = logging.getLogger("msgbus.kafka")

RETRY_INTERVAL_SECONDS: Final = 0.1
"""Seconds before a node is asked again whose response could not be processed."""

EVENT_LOOP_TURNS: Final = 2
"""Event-loop turns from the fetch loop to ``receive()``, and from there to a callback."""
IDLE_FETCH_WAIT_MS: Final = 500
"""Milliseconds that a node may hold a request when its last response was empty and no fetched records wait.

A partition whose fetched records wait is not in the request, and could not be fetched again before the request ends.
"""
_LAST_VERSION_WITHOUT_LOG_START: Final = 4
"""The last version of FetchResponse without the first offset of each log."""
_OFFSET_OUT_OF_RANGE: Final = 1
_TOPIC_AUTHORIZATION_FAILED: Final = 29
_TRANSIENT_ERRORS: Final = frozenset({0, 3, 5, 6, 7, 9, 13, 74, 75, 78, 100, 103})
"""No error, or one that ends when the client has found the new leader."""


class FetchResponses:
    """Contents of the responses of one fetcher, apart from the records: batches, refused partitions, errors."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._assignment: Assignment | None = None
        self._batches: dict[TopicPartition, FetchedBatches] = {}
        self._lenient: set[TopicPartition] = set()
        self.refused: set[TopicPartition] = set()
        """Partitions for which the last response was an error that does not pass by itself."""

    def read_leniently(self, partition: TopicPartition) -> bool:
        """Read header names of ``partition`` leniently from the next fetch on; False if they are already."""
        if partition in self._lenient:
            return False
        self._lenient.add(partition)
        return True

    def batches_of(self, partition: TopicPartition) -> FetchedBatches | None:
        """Return the batches that the last taken records of ``partition`` came from."""
        return self._batches.get(partition)

    def next_offset(self, partition: TopicPartition, reached: int) -> int:
        """Return the offset that should follow ``reached``, once records of ``partition`` were taken.

        It is further away if the log explains the offsets between. Forgets batches that were read to their end.
        """
        if partition in self._fetcher._records:  # more of its records wait to be taken
            if (source := self._batches.get(partition)) is not None:
                source.delivered_until = reached + 1
            return reached + 1
        source = self._batches.pop(partition, None)
        position = self._position(partition)
        if (
            source is None
            or position <= reached + 1
            or source.unexplained(OffsetGap(reached + 1, position)) is not None
        ):
            return reached + 1
        return position

    def _position(self, partition: TopicPartition) -> int:
        state = self._assignment.state_value(partition) if self._assignment is not None else None
        return int(state.position) if state is not None and state.has_valid_position else -1

    def observe(self, assignment: Assignment, response: Response) -> bool:
        """Take what aiokafka has ignored in a response that it has just read.

        Return whether an error is to be raised.
        """
        if assignment is not self._assignment:
            self._assignment = assignment
            self._batches.clear()
        overlooked = False
        for topic, rows in response.topics:
            for number, code, _, *rest in rows:
                if code == 0 and not rest[-1] and not self.refused:
                    continue
                partition = TopicPartition(topic, number)
                if code in _TRANSIENT_ERRORS:
                    self.refused.discard(partition)
                    if rest[-1]:
                        self._keep_batches(partition, response.API_VERSION, rest)
                elif code != _OFFSET_OUT_OF_RANGE:
                    self.refused.add(partition)
                    overlooked = self._report_refusal(partition, code) or overlooked
        return overlooked

    def _keep_batches(self, partition: TopicPartition, version: int, rest: list[Any]) -> None:
        waiting = self._fetcher._records.get(partition)
        read: PartitionRecords | None = getattr(waiting, "_partition_records", None)
        if read is None:
            return  # aiokafka has no use for it: the position has changed meanwhile
        aborted = rest[1 if version <= _LAST_VERSION_WITHOUT_LOG_START else 2]
        source = FetchedBatches(read.next_fetch_offset, rest[-1], aborted)
        if (before := self._batches.get(partition)) is not None:
            source.continue_from(before)
        self._batches[partition] = source
        if partition in self._lenient:
            from msgbus_kafka.aiokafka_internals.lenient_headers import LenientRecords  # inherits from private classes

            read._records = LenientRecords(rest[-1])  # no record of it was read yet

    def _report_refusal(self, partition: TopicPartition, code: int) -> bool:
        if code == _TOPIC_AUTHORIZATION_FAILED or partition in self._fetcher._records:
            return False  # aiokafka raises it, or records before it are taken first
        refused = FetchRefused(partition, f"{kafka.for_code(code).__name__}, code {code}")
        self._fetcher._set_error(partition, refused)
        return True


def install_fetcher(consumer: ConsumerClient, arrived: asyncio.Event) -> FetchResponses:
    """Set ``arrived`` whenever a started AIOKafkaConsumer has fetched something."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request
    idle: set[int] = set()
    responses_of = FetchResponses(fetcher)
    client = fetcher._client
    send = client.send
    responses: dict[int, Response | None] = {}

    async def tapped(node: int, request: object, **how: object) -> Any:
        response = await send(node, request, **how)
        if id(request) in responses:
            responses[id(request)] = response
        return response

    client.send = tapped

    async def adapted(assignment: Assignment, node: int, request: FetchRequest) -> bool:
        if node in idle and not fetcher._records:
            request._max_wait_ms = IDLE_FETCH_WAIT_MS
        responses[id(request)] = None
        fetched = False
        try:
            fetched = await fetch(assignment, node, request)
        except Exception as error:  # noqa: BLE001 - else aiokafka's fetcher would end without a message
            logger.debug("kafka: a response of node %s could not be processed: %r; trying again", node, error)
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        finally:
            response = responses.pop(id(request))
        if response is not None and assignment.active:
            fetched = responses_of.observe(assignment, response) or fetched
        if fetched:
            idle.discard(node)
            arrived.set()
            # The next request is built at the end of this call, and not because records are taken now.
            fetcher._wait_consume_future = None
            for _ in range(EVENT_LOOP_TURNS):
                await asyncio.sleep(0)
        else:
            idle.add(node)
        # aiokafka does this one event-loop turn later. If another event woke it before, it would not fetch from this
        # node again for 0.2 s.
        fetcher._in_flight.discard(node)
        return fetched

    fetcher._proc_fetch_request = adapted
    _drop_second_refusals(fetcher)
    return responses_of


def _drop_second_refusals(fetcher: Fetcher) -> None:
    """Drop a second refusal of a partition. aiokafka 0.14 asserts that there is none, which ends its fetcher."""
    set_error = fetcher._set_error

    def kept(partition: TopicPartition, error: Exception) -> None:
        if partition not in fetcher._records:
            set_error(partition, error)

    fetcher._set_error = kept
