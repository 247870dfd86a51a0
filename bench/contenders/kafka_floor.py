"""The floor of publishing on Kafka by one future for each message: the cost where msgbus itself does nothing.

There is no name, no check, no header of its own and no deadline: a ready record goes into aiokafka's batch, and the end
of the batch resolves the record's future. The gates leave what the core and the adapter may take together above it.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, cast

from aiokafka import TopicPartition

from bench.contenders.kafka_raw import RawKafka, create
from msgbus.adapter.url import BrokerURL
from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of
from msgbus_kafka.connection import ConnectionSettings
from msgbus_kafka.options import KafkaOptions
from msgbus_kafka.producer.partition_writer import PartitionWriter
from msgbus_kafka.producer.producer_slot import BATCH_BYTES, ProducerSlot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contender import Item, Place
    from msgbus_kafka.producer.record import Record

HEADERS: Final = [
    ("message-id", b"0123456789abcdef0123456789abcdef"),
    ("time", b"1700000000000"),
    ("content-type", b"application/octet-stream"),
]


class KafkaFloor(RawKafka):
    """The raw client with another way of publishing."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._slot = ProducerSlot(ConnectionSettings(BrokerURL.parse(place.url), KafkaOptions()), BATCH_BYTES)
        self._writers: list[PartitionWriter] = []

    async def open(self) -> None:
        await create(self._hosts, [self.place.queue])
        self._producer = await self._slot.ready()
        batches = accumulator_of(self._producer)
        for partition in sorted(await self._producer.partitions_for(self.place.queue)):
            where = TopicPartition(self.place.queue, partition)
            self._writers.append(PartitionWriter(batches, where, self._ended, lambda writer: writer.resume()))

    async def publish(self, item: Item) -> None:
        sent = Sent(item)
        self._writers[self._slot.partitioner.partition(sent.key, range(len(self._writers)), ())].put(
            cast("Record", sent)
        )
        await sent.confirmed

    def _ended(self, items: Sequence[Record], error: BaseException | None) -> None:
        if error is not None:
            raise error
        self._slot.ack_pacer.complete(lambda: _confirm(cast("Sequence[Sent]", items)))

    async def close(self) -> None:
        await self._slot.close(1.0)


class Sent:
    """A record with the attributes that a partition writer needs."""

    __slots__ = ("call", "confirmed", "headers", "key", "sent", "value")

    def __init__(self, item: Item) -> None:
        self.key = item.key.encode()
        self.value = item.body
        self.headers = HEADERS
        self.call = NO_CALL
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


NO_CALL: Final = SimpleNamespace(over=False)


def _confirm(items: Sequence[Sent]) -> None:
    for item in items:
        item.confirmed.set_result(None)
