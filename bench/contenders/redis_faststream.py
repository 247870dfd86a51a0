"""FastStream on Redis Streams: a group, XACK after the callback; `max_workers` where callbacks run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from bench.contenders.faststream_ import FastStream

if TYPE_CHECKING:
    from bench.contender import Item, Place

GROUP = "g"
OFF: Any = None
"""No logger; its types do not say so for Redis."""


class FastStreamRedis(FastStream):
    """Its default is at least once."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.broker = RedisBroker(place.url, logger=OFF, max_connections=1000)
        self._redis: Any = Redis.from_url(place.url)

    async def open(self) -> None:
        await self.broker.start()
        await self._redis.xgroup_create(self.place.queue, GROUP, id="0", mkstream=True)

    async def publish(self, item: Item) -> None:
        await self.broker.publish(item.body, stream=self.place.queue, headers={"key": item.key})

    def subscribe(self, callback: Any) -> None:
        self.serving = RedisBroker(self.place.url, logger=OFF)
        stream = StreamSub(self.place.queue, group=GROUP, consumer="c", last_id=">")
        self.serving.subscriber(stream=stream, max_workers=self.place.at_once)(callback)

    async def pending(self) -> int:
        (group,) = await self._redis.xinfo_groups(self.place.queue)
        return int(group["pending"]) + int(group["lag"] or 0)

    async def close(self) -> None:
        await super().close()
        await self._redis.aclose()
