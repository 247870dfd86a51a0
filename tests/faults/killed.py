"""A process that ends itself by SIGKILL at a named point: ``python -m tests.faults.killed URL QUEUE POINT N``.

The points lie at the adapter's boundary, where every window between publishing and acknowledging is. Settling, it fails
the message ``bad`` and handles all others; redriving, it sends all dead letters back. What it has done it prints.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from msgbus.broker import Broker
from msgbus.registry import adapter_type
from msgbus.retry import RetryPolicy
from msgbus.url import BrokerURL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Adapter, SessionListener
    from msgbus.message import Delivery, Message, Outgoing

GROUP: Final = "g"
BAD: Final = "bad"
SETTLING: Final = (
    "before its retry is published",
    "after its retry is published",
    "after it is acknowledged",
    "before its dead letter is published",
    "after its dead letter is published",
    "after its retry is acknowledged",
)
REDRIVING: Final = ("after taking", "before sending", "after sending", "after removing")
POLICY: Final = RetryPolicy(in_place=0, delays=(1.0,), pause_after=None)
"""A retry queue, then the dead-letter queue: each with its own windows."""
_PUBLISHED: Final = {"retry.1s": "its retry is published", "dlq": "its dead letter is published"}
_ACKNOWLEDGED: Final = {"": "after it is acknowledged", "retry.1s": "after its retry is acknowledged"}


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

    def wrap(self, adapter: Any) -> Adapter:
        """``adapter`` with all points."""
        wrapped: Adapter = adapter
        self._publishing(adapter)
        self._consuming(adapter)
        self._taking(adapter)
        return wrapped

    def _publishing(self, adapter: Any) -> None:
        publish = adapter.publish

        async def published(messages: Sequence[Outgoing], timeout: float) -> Any:
            window = _PUBLISHED.get(messages[0].address.part, "")
            sent = self._point in REDRIVING
            self.passing("before sending" if sent else f"before {window}")
            verdicts = await publish(messages, timeout)
            self.passing("after sending" if sent else f"after {window}")
            return verdicts

        adapter.publish = published

    def _consuming(self, adapter: Any) -> None:
        open_consumer = adapter.open_consumer

        async def opened(group: str, listener: SessionListener) -> Any:
            made = await open_consumer(group, listener)
            acknowledge = made.acknowledge

            async def acknowledged(deliveries: Sequence[Delivery]) -> None:
                await acknowledge(deliveries)
                _say("acknowledged", len(deliveries))
                for delivery in deliveries:
                    if delivery.message.id == BAD:
                        self.passing(_ACKNOWLEDGED[delivery.address.part])

            made.acknowledge = acknowledged
            return made

        adapter.open_consumer = opened

    def _taking(self, adapter: Any) -> None:
        open_letters = adapter.open_letters

        async def opened(*arguments: Any) -> Any:
            made = await open_letters(*arguments)
            take, remove = made.take, made.remove

            async def taken(*arguments: Any) -> Any:
                page = await take(*arguments)
                self.passing("after taking")
                return page

            async def removed(letters: Sequence[Delivery]) -> None:
                await remove(letters)
                self.passing("after removing")

            made.take, made.remove = taken, removed
            return made

        adapter.open_letters = opened


def _say(word: str, what: object) -> None:
    sys.stdout.write(f"{word} {what}\n")
    sys.stdout.flush()


async def _callback(message: Message) -> None:
    if message.id == BAD:
        raise ValueError("told to")
    _say("handled", message.id)


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
