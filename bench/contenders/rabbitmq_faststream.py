"""FastStream on RabbitMQ: a durable quorum queue, persistent messages, confirms, the same prefetch as the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from bench.asked.rabbitmq_ import amqp
from bench.contenders.faststream_ import FastStream
from bench.contenders.rabbitmq_raw import PREFETCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contender import Item, Place


class FastStreamRabbit(FastStream):
    """FastStream with a prefetch; without it the server would send the whole backlog."""

    name = "rabbitmq"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._queue = _queue(place.queue)
        self.broker = RabbitBroker(amqp(place.url), logger=None)
        self.serving = RabbitBroker(amqp(place.url), logger=None)

    async def declare(self, queues: Sequence[str]) -> None:
        for queue in queues:
            await self.broker.declare_queue(_queue(queue))

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, queue=self._queue, persist=True, headers={"key": item.key})

    def subscribe(self, queues: Sequence[str], callback: Any) -> None:
        prefetch = PREFETCH if self.place.at_once == 1 else self.place.at_once
        for queue in queues:
            self.serving.subscriber(_queue(queue), channel=Channel(prefetch_count=prefetch))(callback)


def _queue(name: str) -> RabbitQueue:
    return RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True)
