"""FastStream on Redis Streams: a group, XACK after the callback; `max_workers` where callbacks run concurrently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from bench.asked import GROUP
from bench.contenders.faststream_ import FastStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contender import Item, Place

OFF: Any = None
"""No logger; FastStream's types do not allow None for Redis."""


class FastStreamRedis(FastStream):
    """FastStream with its default policy, which is at least once."""

    name = "redis"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.broker = RedisBroker(place.url, logger=OFF, max_connections=1000)
        self.serving = RedisBroker(place.url, logger=OFF)

    async def declare(self, queues: Sequence[str]) -> None:
        client: Any = Redis.from_url(self.place.url)
        async with client:
            for queue in queues:
                await client.xgroup_create(queue, GROUP, id="0", mkstream=True)

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, stream=self.place.queue, headers={"key": item.key})

    def subscribe(self, queues: Sequence[str], callback: Any) -> None:
        for queue in queues:
            stream = StreamSub(queue, group=GROUP, consumer="c", last_id=">")
            self.serving.subscriber(stream=stream, max_workers=self.place.at_once)(callback)
