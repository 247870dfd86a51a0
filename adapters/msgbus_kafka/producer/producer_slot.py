"""Lines: idempotent producers that are replaced when their sequence is broken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from msgbus.errors import translated
from msgbus_kafka.admin.topic_config import LARGEST
from msgbus_kafka.aiokafka_internals.accumulator import batches_of
from msgbus_kafka.aiokafka_internals.install import tame
from msgbus_kafka.aiokafka_internals.sender import quicken
from msgbus_kafka.aiokafka_internals.shutdown import stop_producer
from msgbus_kafka.errors import TABLE
from msgbus_kafka.producer.ack_pacing import Halves
from msgbus_kafka.producer.partitioner import Spread

if TYPE_CHECKING:
    from msgbus_kafka.connection import Access

__all__ = ["BATCH", "Line"]

BATCH: Final = 256 * 1024
"""Bytes of a batch. A batch over the topic's limit would be refused with everything in it."""
REQUEST: Final = 15.0
"""Seconds of one request: longer than a cluster needs to drop a dead node (8 to 13 s)."""
RETIRE: Final = 30.0
"""Seconds that a replaced producer has for what it still holds."""


class Line:
    """The producer for topics that take batches of ``batch`` bytes."""

    def __init__(self, access: Access, batch: int) -> None:
        self._access = access
        self._batch = batch
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()
        self.spread: Final = Spread()
        self.halves: Final = Halves(self._waits)

    async def ready(self) -> Any:
        """A producer that works, as far as anybody knows. Raises BrokerUnavailable or AccessRefused."""
        if self.uses(self._producer):
            return self._producer
        async with self._starting:
            if not self.uses(self._producer):
                self.replace(self._producer)
                self._producer = await self._started()
            return self._producer

    def uses(self, producer: Any) -> bool:
        """Whether it is the one to use, and alive."""
        return producer is not None and producer is self._producer and not producer._sender.sender_task.done()  # noqa: SLF001

    def _waits(self) -> bool:
        return self._producer is not None and bool(batches_of(self._producer).waiting)

    async def _started(self) -> Any:
        producer = AIOKafkaProducer(
            **self._access.settings(),
            client_id="msgbus",
            enable_idempotence=True,
            acks="all",
            linger_ms=0,  # while one request is under way the next one fills; a lone message waits for nothing
            max_batch_size=self._batch,
            max_request_size=LARGEST,
            request_timeout_ms=int(REQUEST * 1000),
            metadata_max_age_ms=60_000,
        )
        tame(producer.client, self._access.servers, self._access.metadata)
        quicken(producer)
        try:
            with translated(TABLE, f"kafka: {self._access.servers}"):
                await producer.start()
        except BaseException:
            await stop_producer(producer, 0)
            raise
        return producer

    def replace(self, producer: Any) -> None:
        """``producer`` may not be used any more; what it still holds has 30 s."""
        if producer is not None and producer is self._producer:
            self._producer = None
            task = asyncio.ensure_future(stop_producer(producer, RETIRE))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    def give_up(self, topic: str) -> None:
        """``topic`` is gone: what waits for its leaders fails."""
        if self._producer is not None:
            batches_of(self._producer).fail_topic(topic, UnknownTopicOrPartitionError())

    async def close(self, wait: float) -> None:
        """Send what is pending for at most ``wait`` seconds, then fail it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer, wait)
        for task in list(self._retired):
            task.cancel()
        if self._retired:
            await asyncio.wait(self._retired, timeout=1.0)
