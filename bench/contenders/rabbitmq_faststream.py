"""FastStream on RabbitMQ: a durable quorum queue, persistent messages, confirms; prefetch 100."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aio_pika
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from bench.contenders.faststream_ import FastStream

if TYPE_CHECKING:
    from bench.contender import Item, Place

PREFETCH = 100


class FastStreamRabbit(FastStream):
    """Without a prefetch it would be pushed all there is."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._url = place.url.replace("rabbitmq://", "amqp://", 1)
        self._queue = RabbitQueue(place.queue, queue_type=QueueType.QUORUM, durable=True)
        self.broker = RabbitBroker(self._url, logger=None)

    async def open(self) -> None:
        await self.broker.start()
        await self.broker.declare_queue(self._queue)

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, queue=self._queue, persist=True, headers={"key": item.key})

    def subscribe(self, callback: Any) -> None:
        self.serving = RabbitBroker(self._url, logger=None)
        self.serving.subscriber(self._queue, channel=Channel(prefetch_count=PREFETCH))(callback)

    async def pending(self) -> int:
        connection = await aio_pika.connect(self._url)
        async with connection, connection.channel() as channel:
            declared = await channel.declare_queue(self.place.queue, passive=True)
            return int(declared.declaration_result.message_count or 0)
