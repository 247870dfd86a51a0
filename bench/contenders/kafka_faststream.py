"""FastStream on Kafka: acks=all; a commit after each callback, or by default the client's own in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from bench.contenders.faststream_ import FastStream
from bench.contenders.kafka_raw import GROUP, behind, create

if TYPE_CHECKING:
    from bench.contender import Item, Place


class FastStreamKafka(FastStream):
    """At least once."""

    policy = AckPolicy.ACK

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._hosts = place.url.removeprefix("kafka://")
        self.broker = KafkaBroker(self._hosts, logger=None, acks="all")

    async def open(self) -> None:
        await create(self._hosts, self.place.queue)
        await self.broker.start()

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, topic=self.place.queue, key=item.key.encode())

    def subscribe(self, callback: Any) -> None:
        self.serving = KafkaBroker(self._hosts, logger=None)
        self.serving.subscriber(self.place.queue, group_id=GROUP, auto_offset_reset="earliest", ack_policy=self.policy)(
            callback
        )

    async def pending(self) -> int:
        return await behind(self._hosts, self.place.queue)


class FastStreamKafkaAuto(FastStreamKafka):
    """Its default, which may lose what was being handled: the client commits what it has handed out."""

    policy = AckPolicy.ACK_FIRST
