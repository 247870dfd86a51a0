"""redis-py, used as its manual says: XADD, XREADGROUP with COUNT 100, XACK after the callback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis

from bench.asked import GROUP
from bench.asked.redis_ import left
from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place
from bench.contenders.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 100
CHUNK = 100


class RawRedis(Contender):
    """Awaits one XACK for each message."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        pool = BlockingConnectionPool.from_url(place.url, max_connections=100, timeout=None)
        self._redis: Any = Redis(connection_pool=pool)
        self._reading: asyncio.Task[None] | None = None
        self._stopping = False

    async def open(self) -> None:
        await self._declare(self.place.queue)

    async def _declare(self, queue: str) -> None:
        await self._redis.xgroup_create(queue, GROUP, id="0", mkstream=True)

    async def publish(self, item: Item) -> None:
        await self._redis.xadd(self.place.queue, {"body": item.body, "key": item.key})

    async def publish_many(self, items: Sequence[Item]) -> None:
        for first in range(0, len(items), CHUNK):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for item in items[first : first + CHUNK]:
                    pipeline.xadd(self.place.queue, {"body": item.body, "key": item.key})
                await pipeline.execute()

    async def consume(self, handler: Handler) -> None:
        self._reading = asyncio.create_task(self._read([self.place.queue], handler))

    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        for queue in queues:
            await self._declare(queue)
        self._reading = asyncio.create_task(self._read(queues, handler))

    async def _read(self, queues: Sequence[str], handler: Handler) -> None:
        streams = dict.fromkeys(queues, ">")
        while not self._stopping:
            for _, entries in await self._redis.xreadgroup(GROUP, "c", streams, count=COUNT, block=500):
                await self._settle(handler, entries)

    async def _settle(self, handler: Handler, entries: Sequence[Any]) -> None:
        async def one(entry: Any) -> None:
            await handler(loads(entry[1][b"body"]))
            await self._redis.xack(self.place.queue, GROUP, entry[0])

        await Crowd(self.place.at_once).each(one, entries)

    async def stop(self) -> None:
        self._stopping = True  # not cancelled: a read that is cancelled may lose entries
        if self._reading is not None:
            await self._reading

    async def pending(self) -> int:
        return await left(self.place.url, self.place.queue)

    async def close(self) -> None:
        await self._redis.aclose()


class RawRedisBatch(RawRedis):
    """One XACK with the ids of all entries of one read."""

    async def _settle(self, handler: Handler, entries: Sequence[Any]) -> None:
        for entry in entries:
            await handler(loads(entry[1][b"body"]))
        await self._redis.xack(self.place.queue, GROUP, *(entry[0] for entry in entries))
