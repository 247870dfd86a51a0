"""The floor of publishing on Kafka by one future for each message: what is left where msgbus itself does nothing.

No name, no check, no header of its own and no deadline: a record that lies ready goes into aiokafka's batch, whose end
resolves its future. What the gates leave above it is all that the core and the adapter may take together.
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
    """Publishing alone differs from the raw client's."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._line = ProducerSlot(ConnectionSettings(BrokerURL.parse(place.url), KafkaOptions()), BATCH_BYTES)
        self._lanes: list[PartitionWriter] = []

    async def open(self) -> None:
        await create(self._hosts, [self.place.queue])
        self._producer = await self._line.ready()
        batches = accumulator_of(self._producer)
        for partition in sorted(await self._producer.partitions_for(self.place.queue)):
            where = TopicPartition(self.place.queue, partition)
            self._lanes.append(PartitionWriter(batches, where, self._ended, lambda lane: lane.resume()))

    async def publish(self, item: Item) -> None:
        sent = Sent(item)
        self._lanes[self._line.partitioner.partition(sent.key, range(len(self._lanes)), ())].put(cast("Record", sent))
        await sent.confirmed

    def _ended(self, items: Sequence[Record], error: BaseException | None) -> None:
        if error is not None:
            raise error
        self._line.ack_pacer.complete(lambda: _confirm(cast("Sequence[Sent]", items)))

    async def close(self) -> None:
        await self._line.close(1.0)


class Sent:
    """As much of a record as a lane looks at."""

    __slots__ = ("call", "confirmed", "headers", "key", "sent", "value")

    def __init__(self, item: Item) -> None:
        self.key = item.key.encode()
        self.value = item.body
        self.headers = HEADERS
        self.call = NOBODY
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


NOBODY: Final = SimpleNamespace(over=False)


def _confirm(items: Sequence[Sent]) -> None:
    for item in items:
        item.confirmed.set_result(None)
