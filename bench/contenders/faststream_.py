"""FastStream on whatever broker, as its manual has it, with its logging off: what its three brokers share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from bench.contender import Contender, Handler, Item

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 100


class FastStream(Contender):
    """publish() and subscribe() are what differs: the words of each broker."""

    broker: Any
    serving: Any = None

    @abstractmethod
    def subscribe(self, callback: Any) -> None:
        """Register the callback at a broker object of its own, `serving`."""

    async def publish_many(self, items: Sequence[Item]) -> None:
        for first in range(0, len(items), CHUNK):
            await asyncio.gather(*(self.publish(item) for item in items[first : first + CHUNK]))

    async def consume(self, handler: Handler) -> None:
        async def callback(body: dict[str, Any]) -> None:  # decoded by FastStream, with orjson too
            await handler(body)

        callback.__annotations__ = {"body": dict[str, Any], "return": None}  # it reads them, and cannot see our imports
        self.subscribe(callback)
        await self.serving.start()

    async def stop(self) -> None:
        await self.serving.stop()

    async def close(self) -> None:
        await self.broker.stop()
