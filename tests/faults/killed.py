"""A process that ends itself by SIGKILL at a named point: ``python -m tests.faults.killed URL QUEUE POINT N``.

The points lie at the adapter's boundary, where every window between publishing and acknowledging is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from msgbus.broker import Broker
from msgbus.registry import adapter_type
from msgbus.retry import Backoff, Reject, RetryPolicy
from msgbus.url import BrokerURL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgbus.adapter import Adapter
    from msgbus.message import Message

GROUP = "g"
SETTLING = ("before publishing", "after publishing", "after acknowledging")
REDRIVING = ("after taking", "before sending", "after sending", "after removing")
POLICY = RetryPolicy(in_place=0, backoff=Backoff(0.01, 0.01), delays=(1.0,), pause_after=None)


class Killer:
    """Wraps calls of an adapter, and dies at the ``n``-th passing of ``point``."""

    def __init__(self, point: str, n: int) -> None:
        self._point = point
        self._left = n

    def passing(self, point: str) -> None:
        """Here is ``point``."""
        if point == self._point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Awaitable[Any]], before: str, after: str) -> Callable[..., Awaitable[Any]]:
        """``call`` between two points."""

        async def wrapped(*arguments: Any) -> Any:
            self.passing(before)
            result = await call(*arguments)
            self.passing(after)
            return result

        return wrapped

    def wrap(self, adapter: Any) -> Adapter:
        """``adapter`` with all points."""
        names = ("before sending", "after sending") if self._point in REDRIVING else SETTLING[:2]
        adapter.publish = self.around(adapter.publish, *names)
        open_consumer, open_letters = adapter.open_consumer, adapter.open_letters

        async def consumer(*arguments: Any) -> Any:
            made = await open_consumer(*arguments)
            made.acknowledge = self.around(made.acknowledge, "", "after acknowledging")
            return made

        async def letters(*arguments: Any) -> Any:
            made = await open_letters(*arguments)
            made.take = self.around(made.take, "", "after taking")
            made.remove = self.around(made.remove, "", "after removing")
            return made

        adapter.open_consumer, adapter.open_letters = consumer, letters
        wrapped: Adapter = adapter
        return wrapped


async def _callback(message: Message) -> None:
    if int(message.id) % 3 == 0:
        raise Reject("told to")
    if int(message.id) % 3 == 1 and message.attempt == 1:
        raise ValueError("told to")
    sys.stdout.write(f"{message.id}\n")
    sys.stdout.flush()


async def _run(url: str, queue: str, point: str, n: str) -> None:
    parsed = BrokerURL.parse(url)
    kind = adapter_type(parsed.scheme)
    options = kind.Options(**parsed.params)
    async with Broker(Killer(point, int(n)).wrap(kind(parsed, options)), group=GROUP) as broker:
        if point in REDRIVING:
            await broker.dead_letters(queue).redrive()
            return
        await broker.consume(queue, _callback, retry=POLICY)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
