"""A process that ends itself by SIGKILL at a named point.

Run as ``python -m tests.support.processes.killed_at_point URL QUEUE POINT N``.

The points lie at the adapter's boundary, where every window between publishing and acknowledging is. Settling, it fails
the message ``bad`` and handles all others; redriving, it sends all dead letters back. What it has done it prints.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from msgbus.adapter.url import BrokerURL
from msgbus.broker import Broker
from msgbus.registry import adapter_type
from msgbus.retry import RetryPolicy
from msgbus.testing.intercepting_adapter import Passing, Point, WatchedAdapter

if TYPE_CHECKING:
    from msgbus.message import Message

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
POLICY: Final = RetryPolicy(immediate=0, delays=(1.0,), pause_after=None)
"""A retry queue, then the dead-letter queue: each with its own windows."""
_PUBLISHED: Final = {"retry.1s": "its retry is published", "dlq": "its dead letter is published"}
_ACKNOWLEDGED: Final = {"": "after it is acknowledged", "retry.1s": "after its retry is acknowledged"}
_WHEN: Final = {Point.PUBLISHING: "before", Point.PUBLISHED: "after"}
_REDRIVES: Final = {
    Point.TAKEN: ("after taking",),
    Point.PUBLISHING: ("before sending",),
    Point.PUBLISHED: ("after sending",),
    Point.REMOVED: ("after removing",),
}


class Killer:
    """A watch that dies at the ``n``-th passing of ``point``."""

    def __init__(self, point: str, n: int) -> None:
        self._point = point
        self._left = n

    def watch(self, passing: Passing) -> None:
        """Implement :meth:`WatchedAdapter.watch`."""
        if passing.point is Point.ACKNOWLEDGED:
            _say("acknowledged", len(passing.deliveries))
        for name in _settles(passing) if self._point in SETTLING else _REDRIVES.get(passing.point, ()):
            self._at(name)

    def _at(self, name: str) -> None:
        if name == self._point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def _settles(passing: Passing) -> list[str]:
    """The names of what passes, while messages are settled."""
    if passing.point is Point.ACKNOWLEDGED:
        return [_ACKNOWLEDGED[one.address.part] for one in passing.deliveries if one.message.id == BAD]
    if passing.point in _WHEN:
        return [f"{_WHEN[passing.point]} {_PUBLISHED.get(passing.messages[0].address.part, '')}"]
    return []


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
    watched = WatchedAdapter(kind(parsed, options), Killer(point, int(n)).watch)
    async with Broker(watched, group=GROUP) as broker:
        if point in REDRIVING:
            await broker.dead_letters(queue).redrive()
            return
        await broker.consume(queue, _callback, retry=POLICY)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
