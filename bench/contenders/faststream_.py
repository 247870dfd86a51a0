"""FastStream on any broker, used as its manual says, with its logging off: the part that is the same for all."""

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
    """FastStream without publish(), declare() and subscribe(), which differ by broker."""

    name: str
    broker: Any
    serving: Any
    """The consumer's own broker object."""

    @abstractmethod
    async def declare(self, queues: Sequence[str]) -> None:
        """Create these queues."""

    @abstractmethod
    def subscribe(self, queues: Sequence[str], callback: Any) -> None:
        """Register the callback for each queue at `serving`."""

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

        callback.__annotations__ = {
            "body": dict[str, Any],
            "return": None,
        }  # FastStream reads them, and cannot see this module's imports
        self.subscribe(queues, callback)
        await self.serving.start()

    async def stop(self) -> None:
        await self.serving.stop()

    async def pending(self) -> int:
        return await asked(self.name).left(self.place.url, self.place.queue)

    async def close(self) -> None:
        await self.broker.stop()
