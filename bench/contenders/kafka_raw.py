"""aiokafka, used as its manual says: send_and_wait() with acks=all, getmany(), commit after the callback."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.asked import GROUP
from bench.asked.kafka_ import PARTITIONS, hosts, left
from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place
from bench.contenders.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS = 500
TICK = 0.2
"""Seconds between two commits of a contender that does not commit each read: as msgbus does."""


async def create(url: str, topics: Sequence[str]) -> None:
    """Create topics with as many partitions as msgbus makes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    finally:
        await admin.close()


class RawKafka(Contender):
    """Awaits a commit for each message."""

    idempotent = False
    """aiokafka's default."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._hosts = hosts(place.url)
        self._producer: Any = None
        self._consumer: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False

    async def open(self) -> None:
        await create(self._hosts, [self.place.queue])
        self._producer = AIOKafkaProducer(bootstrap_servers=self._hosts, acks="all", enable_idempotence=self.idempotent)
        await self._producer.start()

    async def publish(self, item: Item) -> None:
        await self._producer.send_and_wait(self.place.queue, item.body, key=item.key.encode())

    async def publish_many(self, items: Sequence[Item]) -> None:
        sent = [await self._producer.send(self.place.queue, item.body, key=item.key.encode()) for item in items]
        await asyncio.gather(*sent)

    async def consume(self, handler: Handler) -> None:
        await self._consume([self.place.queue], handler)

    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        await create(self._hosts, queues)
        await self._consume(queues, handler)

    async def _consume(self, queues: Sequence[str], handler: Handler) -> None:
        self._consumer = AIOKafkaConsumer(
            *queues,
            bootstrap_servers=self._hosts,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await self._consumer.start()
        self._reading = asyncio.create_task(self._read(handler))

    async def _read(self, handler: Handler) -> None:
        while not self._stopping:
            fetched = await self._consumer.getmany(timeout_ms=200, max_records=RECORDS)
            await self._settle(handler, [record for records in fetched.values() for record in records])

    async def _settle(self, handler: Handler, records: Sequence[Any]) -> None:
        if self.place.at_once > 1:  # committing beside running callbacks would be at most once
            await self._handle(handler, records)
            await self._commit(records)
            return
        for record in records:
            await handler(loads(record.value))
            await self._consumer.commit({_partition(record): record.offset + 1})

    async def _handle(self, handler: Handler, records: Sequence[Any]) -> None:
        async def one(record: Any) -> None:
            await handler(loads(record.value))

        await Crowd(self.place.at_once).each(one, records)

    async def _commit(self, records: Sequence[Any]) -> None:
        if records:
            await self._consumer.commit()

    async def stop(self) -> None:
        self._stopping = True
        if self._reading is not None:
            await self._reading
        await self._consumer.stop()

    async def pending(self) -> int:
        return await left(self.place.url, self.place.queue)

    async def close(self) -> None:
        await self._producer.stop()


class RawKafkaEnveloped(RawKafka):
    """The raw client with the cost of msgbus' promise: three headers with each message, and idempotence."""

    idempotent = True

    async def publish(self, item: Item) -> None:
        await self._producer.send_and_wait(self.place.queue, item.body, key=item.key.encode(), headers=_envelope())


class RawKafkaBatch(RawKafka):
    """One commit for all records of one read."""

    async def _settle(self, handler: Handler, records: Sequence[Any]) -> None:
        await self._handle(handler, records)
        await self._commit(records)


class RawKafkaTicking(RawKafka):
    """A commit every 200 ms beside the reading, so that no message waits for it."""

    _ticking: asyncio.Task[None] | None = None

    async def consume(self, handler: Handler) -> None:
        await super().consume(handler)
        self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while not self._stopping:
            await asyncio.sleep(TICK)
            await self._consumer.commit()

    async def _settle(self, handler: Handler, records: Sequence[Any]) -> None:
        await self._handle(handler, records)

    async def stop(self) -> None:
        self._stopping = True
        for task in filter(None, (self._reading, self._ticking)):
            await task
        await self._consumer.commit()
        await super().stop()


def _envelope() -> list[tuple[str, bytes]]:
    return [
        ("message-id", secrets.token_hex(16).encode()),
        ("time", b"%d" % int(time.time() * 1000)),
        ("content-type", b"application/octet-stream"),
    ]


def _partition(record: Any) -> Any:
    return TopicPartition(record.topic, record.partition)
