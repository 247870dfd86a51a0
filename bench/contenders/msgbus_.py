"""msgbus on whatever broker the URL names, as it comes: retries, dead letters, lanes and the full envelope are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place
from msgbus import Message, Publication, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "g"


class Msgbus(Contender):
    """Nothing is switched off; concurrency is the one parameter."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._publisher = connect(place.url, group=GROUP)
        self._consumer = connect(place.url, group=GROUP)

    async def open(self) -> None:
        await self._publisher.create_queue(self.place.queue, groups=[GROUP])

    async def publish(self, item: Item) -> None:
        await self._publisher.publish(self.place.queue, item.body, key=item.key)

    async def publish_many(self, items: Sequence[Item]) -> None:
        verdicts = await self._publisher.publish_many(
            self.place.queue, [Publication(item.body, key=item.key) for item in items]
        )
        for verdict in filter(None, verdicts):
            raise verdict

    async def consume(self, handler: Handler) -> None:
        async def callback(message: Message) -> None:
            await handler(loads(message.body))

        await self._consumer.consume(self.place.queue, callback, concurrency=self.place.at_once)
        await self._consumer.__aenter__()

    async def stop(self) -> None:
        await self._consumer.close()

    async def pending(self) -> int:
        return (await self._publisher.lag(self.place.queue)).total

    async def close(self) -> None:
        await self._publisher.close()
