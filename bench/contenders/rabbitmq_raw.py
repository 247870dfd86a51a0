"""aio-pika, used as its manual says: a durable quorum queue, persistent messages, publisher confirms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika

from bench.asked.rabbitmq_ import amqp, left
from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFETCH = 1000
"""Prefetch of every contender: msgbus reaches it step by step. Where the callback waits, it is the concurrency."""
CHUNK = 1000


class RawRabbit(Contender):
    """An ack for each message."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._url = amqp(place.url)
        self._sender: Any = None
        self._connection: Any = None
        self._reader: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: list[Any] = []

    async def open(self) -> None:
        self._sender = await aio_pika.connect(self._url)
        self._channel: Any = await self._sender.channel()
        await self._declare(self.place.queue)

    async def _declare(self, queue: str) -> None:
        await self._channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})

    async def publish(self, item: Item) -> None:
        message = aio_pika.Message(item.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={"key": item.key})
        await self._channel.default_exchange.publish(message, routing_key=self.place.queue)

    async def publish_many(self, items: Sequence[Item]) -> None:
        for first in range(0, len(items), CHUNK):
            await asyncio.gather(*(self.publish(item) for item in items[first : first + CHUNK]))

    async def consume(self, handler: Handler) -> None:
        await self._consume([self.place.queue], handler)

    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        for queue in queues:
            await self._declare(queue)
        await self._consume(queues, handler)

    async def _consume(self, queues: Sequence[str], handler: Handler) -> None:
        async def callback(message: Any) -> None:
            if task := asyncio.current_task():  # aio-pika makes one for each
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await handler(loads(message.body))
            await self._acknowledge(message)

        self._connection = await aio_pika.connect(self._url)
        self._reader = channel = await self._connection.channel()
        await channel.set_qos(PREFETCH if self.place.at_once == 1 else self.place.at_once)
        for queue in queues:
            await (await channel.get_queue(queue, ensure=False)).consume(callback)

    async def _acknowledge(self, message: Any) -> None:
        await message.ack()

    async def stop(self) -> None:
        await asyncio.gather(*self._tasks)
        await self._flush()
        await self._reader.close()  # the server answers after the acks: a connection that is closed drops its last ones
        await self._connection.close()

    async def _flush(self) -> None:
        """Send acknowledgements that are kept back: there are none here."""

    async def pending(self) -> int:
        return await left(self.place.url, self.place.queue)

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
