"""aio-pika as its manual has it: a durable quorum queue, persistent messages, publisher confirms, prefetch 100."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika

from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFETCH = 1000
CHUNK = 1000


class RawRabbit(Contender):
    """An ack for each message."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._url = place.url.replace("rabbitmq://", "amqp://", 1)
        self._sender: Any = None
        self._connection: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[Any] = []

    async def open(self) -> None:
        self._sender = await aio_pika.connect(self._url)
        self._channel: Any = await self._sender.channel()
        await self._channel.declare_queue(self.place.queue, durable=True, arguments={"x-queue-type": "quorum"})

    async def publish(self, item: Item) -> None:
        message = aio_pika.Message(item.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={"key": item.key})
        await self._channel.default_exchange.publish(message, routing_key=self.place.queue)

    async def publish_many(self, items: Sequence[Item]) -> None:
        for first in range(0, len(items), CHUNK):
            await asyncio.gather(*(self.publish(item) for item in items[first : first + CHUNK]))

    async def consume(self, handler: Handler) -> None:
        async def callback(message: Any) -> None:
            await handler(loads(message.body))
            await self._acknowledge(message)

        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel()
        await channel.set_qos(PREFETCH if self.place.at_once == 1 else self.place.at_once)
        queue = await channel.get_queue(self.place.queue, ensure=False)
        await queue.consume(callback)

    async def _acknowledge(self, message: Any) -> None:
        await message.ack()

    async def stop(self) -> None:
        await self._flush()
        if self._connection is not None:
            await self._connection.close()

    async def _flush(self) -> None:
        """Nothing is kept back here."""

    async def pending(self) -> int:
        declared = await self._channel.declare_queue(self.place.queue, passive=True)
        return int(declared.declaration_result.message_count)

    async def close(self) -> None:
        await self._sender.close()


class RawRabbitBatch(RawRabbit):
    """One ack with multiple=True for every 64 messages; callbacks end in the order of their messages."""

    async def _acknowledge(self, message: Any) -> None:
        self._waiting.append(message)
        if len(self._waiting) == 64:  # noqa: PLR2004
            await self._flush()

    async def _flush(self) -> None:
        if self._waiting:
            last = self._waiting[-1]
            self._waiting.clear()
            await last.ack(multiple=True)
