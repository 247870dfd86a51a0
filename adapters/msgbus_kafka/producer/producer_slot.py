"""Producer slots: idempotent producers that are replaced when their sequence numbers are broken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import UnknownTopicOrPartitionError

from msgbus.errors import BrokerUnavailable, translate_errors
from msgbus_kafka.admin.topic_config import MAX_BATCH_BYTES
from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of
from msgbus_kafka.aiokafka_internals.producer_state import is_sending
from msgbus_kafka.aiokafka_internals.shutdown import stop_producer
from msgbus_kafka.clients import new_producer
from msgbus_kafka.errors import ERROR_TABLE
from msgbus_kafka.producer.ack_pacing import AckPacer
from msgbus_kafka.producer.partitioner import Partitioner

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.producer_path import Producer
    from msgbus_kafka.connection import ConnectionSettings

__all__ = ["BATCH_BYTES", "ProducerSlot"]

BATCH_BYTES: Final = 256 * 1024
"""Bytes of a batch. A batch over the topic's limit would be refused with everything in it."""
REQUEST_TIMEOUT_SECONDS: Final = 15.0
"""Seconds of one request: longer than a cluster needs to drop a dead node (8 to 13 s)."""
RETIRE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds for a replaced producer to send its pending batches."""
ABANDON_TIMEOUT_SECONDS: Final = 6.0
"""Seconds to close producers whose pending batches have failed: longer than the bounds of stop_producer()."""


class ProducerSlot:
    """The current producer for topics that accept batches of ``batch`` bytes."""

    def __init__(self, access: ConnectionSettings, batch: int) -> None:
        self._connection_settings = access
        self._batch = batch
        self._producer: Producer | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self._hurry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when replaced producers shall wait no longer."""
        self._retired: set[asyncio.Task[None]] = set()
        self.partitioner: Final = Partitioner()
        self.ack_pacer: Final = AckPacer(self._has_waiting)

    async def ready(self) -> Producer:
        """Return the producer, started if there is none.

        Raises BrokerUnavailable or AccessRefused, and BrokerUnavailable after close().
        """
        if self._producer is not None and self.is_current(self._producer):
            return self._producer
        async with self._starting:
            if self._producer is None or not self.is_current(self._producer):
                self._check_open()
                self.replace(self._producer)
                producer = await self._started()
                try:
                    self._check_open()
                except BrokerUnavailable:
                    await stop_producer(producer, 0)
                    raise
                self._producer = producer
            return self._producer

    def _check_open(self) -> None:
        if self._closed:  # a late publish must not start a producer: nothing would close it
            raise BrokerUnavailable(f"kafka: {self._connection_settings.servers}: the connection was closed")

    def is_current(self, producer: Producer | None) -> bool:
        """Return whether ``producer`` is the one to use, and its sender runs."""
        return producer is not None and producer is self._producer and is_sending(producer)

    def _has_waiting(self) -> bool:
        return self._producer is not None and bool(accumulator_of(self._producer).waiting)

    async def _started(self) -> Producer:
        producer = new_producer(
            self._connection_settings,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,  # the next batch fills while a request is in flight; a lone message is sent at once
            max_batch_size=self._batch,
            max_request_size=MAX_BATCH_BYTES,
            request_timeout_ms=int(REQUEST_TIMEOUT_SECONDS * 1000),
            metadata_max_age_ms=60_000,
        )
        try:
            with translate_errors(ERROR_TABLE, f"kafka: {self._connection_settings.servers}"):
                await producer.start()
        except BaseException:
            await stop_producer(producer, 0)
            raise
        return producer

    def replace(self, producer: Producer | None) -> None:
        """Retire ``producer``: it sends what it still has for at most 30 s."""
        if producer is not None and producer is self._producer:
            self._producer = None
            task = asyncio.ensure_future(stop_producer(producer, RETIRE_TIMEOUT_SECONDS, self._hurry))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    def fail_topic(self, topic: str) -> None:
        """Fail the batches that wait for the leaders of ``topic``, which does not exist any more."""
        if self._producer is not None:
            accumulator_of(self._producer).fail_topic(topic, UnknownTopicOrPartitionError())

    async def close(self, wait: float) -> None:
        """Send pending batches for at most ``wait`` seconds, those of replaced producers as well, then fail them."""
        self._closed = True
        producer, self._producer = self._producer, None
        ending = set(self._retired)
        if producer is not None:
            ending.add(asyncio.ensure_future(stop_producer(producer, wait)))
        if ending:
            await asyncio.wait(ending, timeout=wait)
            if not self._hurry.done():
                self._hurry.set_result(None)
            await asyncio.wait(ending, timeout=ABANDON_TIMEOUT_SECONDS)
