"""FastStream on whatever broker, as its manual has it, with its logging off: what its three brokers share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from bench.asked import asked
from bench.contender import Contender, Handler, Item

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 100


class FastStream(Contender):
    """publish(), declare() and subscribe() are what differs: the words of each broker."""

    name: str
    broker: Any
    serving: Any
    """A broker object of the consumer's own."""

    @abstractmethod
    async def declare(self, queues: Sequence[str]) -> None:
        """Make these queues."""

    @abstractmethod
    def subscribe(self, queues: Sequence[str], callback: Any) -> None:
        """Register the callback for each at `serving`."""

    async def open(self) -> None:
        await self.broker.start()
        await self.declare([self.place.queue])

    async def publish_many(self, items: Sequence[Item]) -> None:
        for first in range(0, len(items), CHUNK):
            await asyncio.gather(*(self.publish(item) for item in items[first : first + CHUNK]))

    async def consume(self, handler: Handler) -> None:
        await self._consume([self.place.queue], handler)

    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        await self.declare(queues)
        await self._consume(queues, handler)

    async def _consume(self, queues: Sequence[str], handler: Handler) -> None:
        async def callback(body: dict[str, Any]) -> None:  # decoded by FastStream, with orjson too
            await handler(body)

        callback.__annotations__ = {"body": dict[str, Any], "return": None}  # it reads them, and cannot see our imports
        self.subscribe(queues, callback)
        await self.serving.start()

    async def stop(self) -> None:
        await self.serving.stop()

    async def pending(self) -> int:
        return await asked(self.name).left(self.place.url, self.place.queue)

    async def close(self) -> None:
        await self.broker.stop()
