"""aiokafka as its manual has it: send_and_wait() with acks=all, getmany(), commit after the callback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place
from bench.contenders.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "g"
PARTITIONS = 8
RECORDS = 500


async def create(url: str, topic: str) -> None:
    """The topic, as wide as msgbus makes one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()


async def behind(url: str, topic: str) -> int:
    """Records of the topic above what the group has committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=url, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        ends = await consumer.end_offsets(list(consumer.assignment()))
        return sum([end - (await consumer.committed(one) or 0) for one, end in ends.items()])
    finally:
        await consumer.stop()


class RawKafka(Contender):
    """A commit awaited for each message."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._hosts = place.url.removeprefix("kafka://")
        self._producer: Any = None
        self._consumer: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False

    async def open(self) -> None:
        await create(self._hosts, self.place.queue)
        self._producer = AIOKafkaProducer(bootstrap_servers=self._hosts, acks="all")
        await self._producer.start()

    async def publish(self, item: Item) -> None:
        await self._producer.send_and_wait(self.place.queue, item.body, key=item.key.encode())

    async def publish_many(self, items: Sequence[Item]) -> None:
        sent = [await self._producer.send(self.place.queue, item.body, key=item.key.encode()) for item in items]
        await asyncio.gather(*sent)

    async def consume(self, handler: Handler) -> None:
        self._consumer = AIOKafkaConsumer(
            self.place.queue,
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
            await self._settle_together(handler, records)
            return
        for record in records:
            await handler(loads(record.value))
            await self._consumer.commit({_partition(record): record.offset + 1})

    async def _settle_together(self, handler: Handler, records: Sequence[Any]) -> None:
        async def one(record: Any) -> None:
            await handler(loads(record.value))

        await Crowd(self.place.at_once).each(one, records)
        if records:
            await self._consumer.commit()

    async def stop(self) -> None:
        self._stopping = True
        if self._reading is not None:
            await self._reading
        await self._consumer.stop()

    async def pending(self) -> int:
        return await behind(self._hosts, self.place.queue)

    async def close(self) -> None:
        await self._producer.stop()


class RawKafkaBatch(RawKafka):
    """One commit for all that one read brought."""

    async def _settle(self, handler: Handler, records: Sequence[Any]) -> None:
        await self._settle_together(handler, records)


def _partition(record: Any) -> Any:
    return TopicPartition(record.topic, record.partition)
