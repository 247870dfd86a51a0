"""FastStream on Kafka: acks=all; a commit after each callback, or by default aiokafka's auto-commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from bench.asked import GROUP
from bench.asked.kafka_ import PARTITIONS, hosts
from bench.contenders.faststream_ import FastStream
from bench.contenders.kafka_raw import create

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contender import Item, Place


class FastStreamKafka(FastStream):
    """At least once. Its concurrent callbacks are one for each partition, with a commit each."""

    name = "kafka"
    policy = AckPolicy.ACK

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._hosts = hosts(place.url)
        self.broker = KafkaBroker(self._hosts, logger=None, acks="all")
        self.serving = KafkaBroker(self._hosts, logger=None)

    async def declare(self, queues: Sequence[str]) -> None:
        await create(self._hosts, queues)

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, topic=self.place.queue, key=item.key.encode())

    def subscribe(self, queues: Sequence[str], callback: Any) -> None:
        self.serving.subscriber(  # one for all: with one each, 50 members took three minutes to join
            *queues,
            group_id=GROUP,
            auto_offset_reset="earliest",
            ack_policy=self.policy,
            max_workers=min(self.place.at_once, PARTITIONS),
        )(callback)


class FastStreamKafkaAuto(FastStreamKafka):
    """Its default, which may lose messages whose callbacks run: aiokafka commits all that it has handed out."""

    policy = AckPolicy.ACK_FIRST
