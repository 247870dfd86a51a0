"""msgbus on the broker of the URL with its defaults: retries, dead letters, ordering keys and all headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.asked import GROUP, asked
from bench.codec import loads
from bench.contender import Contender, Handler, Item, Place
from msgbus import Message, Publication, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOWEST = "retry.10m"
"""The part of the retry queue for the longest delays."""


class Msgbus(Contender):
    """msgbus with its defaults; concurrency is the only parameter."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._kind = place.url.partition(":")[0]
        self._publisher = connect(place.url, group=GROUP)
        self._consumer = connect(place.url, group=GROUP)

    async def open(self) -> None:
        await self._publisher.create_queue(self.place.queue, groups=[GROUP])

    async def publish(self, item: Item) -> None:
        await self._publisher.publish(self.place.queue, item.body, key=item.key)

    async def publish_many(self, items: Sequence[Item]) -> None:
        await self._publish([Publication(item.body, key=item.key) for item in items])

    async def publish_later(self, items: Sequence[Item], delay: float) -> None:
        """Publish messages that wait in a retry queue for ``delay`` seconds."""
        await self._publish([Publication(item.body, key=item.key, delay=delay) for item in items])

    async def _publish(self, publications: Sequence[Publication]) -> None:
        for error in filter(None, await self._publisher.publish_many(self.place.queue, publications)):
            raise error

    async def consume(self, handler: Handler) -> None:
        await self._consume([self.place.queue], handler)

    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        for queue in queues:
            await self._publisher.create_queue(queue, groups=[GROUP])
        await self._consume(queues, handler)

    async def _consume(self, queues: Sequence[str], handler: Handler) -> None:
        async def callback(message: Message) -> None:
            await handler(loads(message.body))

        concurrency = self.place.at_once
        begun = [await self._consumer.consume(queue, callback, concurrency=concurrency) for queue in queues]
        await self._consumer.__aenter__()
        if len(queues) > 1:  # as the other contenders; with one queue the case waits for messages
            for subscription in begun:
                await subscription.ready()

    async def stop(self) -> None:
        await self._consumer.close()

    async def pending(self) -> int:
        if self._kind == "memory":  # deliveries in flight go back when the member stops, and lag() counts them
            return (await self._publisher.lag(self.place.queue)).total
        names = {"redis": f"msgbus:{{{self.place.queue}}}", "rabbitmq": f"{self.place.queue}.{GROUP}"}
        return await asked(self._kind).left(self.place.url, names.get(self._kind, self.place.queue))

    async def waiting(self) -> int:
        """Count the messages in the slowest retry queue; called after stop()."""
        name = f"{self.place.queue}.{GROUP}.{SLOWEST}"
        return await asked(self._kind).left(self.place.url, f"msgbus:{{{name}}}" if self._kind == "redis" else name)

    async def close(self) -> None:
        await self._publisher.close()
