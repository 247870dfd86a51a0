"""Messages of a figure, and the checks that they were handled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bench.codec import dumps
from bench.contender import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.meter import Meter

SIZE: Final = 256
"""Bytes of every body."""


class WorkError(Exception):
    """The work was not done, so the figure is not valid."""


def item(number: int, keys: int) -> Item:
    """Make message ``number`` of one of ``keys`` keys: a JSON object of 256 bytes."""
    key = f"k{number % keys}"
    body = {"n": number, "key": key, "at": time.time(), "fill": ""}
    body["fill"] = "x" * (SIZE - len(dumps(body)))
    return Item(dumps(body), key)


def items(count: int, keys: int = 1000) -> Iterator[Item]:
    """Yield ``count`` messages, made as they are taken: every contender encodes while publishing."""
    return (item(number, keys) for number in range(count))


class Tally:
    """Counts handled messages, their latencies, and messages of one key that overlapped or were out of order."""

    def __init__(self, expected: int, meter: Meter, pause: float = 0.0, *, keep_latencies: bool = True) -> None:
        self.expected = expected
        self.handled = 0
        self.disorder = 0
        self.repeated = 0
        self.latencies: list[float] = []
        self.done = asyncio.Event()
        self._meter = meter
        self._pause = pause
        self._keep_latencies = keep_latencies
        self._started = 0
        self._running: set[str] = set()
        self._last: dict[str, int] = {}

    async def handle(self, body: dict[str, object]) -> None:
        """Handle a message, as the callback of every contender: count it, and wait for ``pause`` seconds."""
        self._started += 1
        if self._started == 1:
            self._meter.start()
        number, key = int(str(body["n"])), str(body["key"])
        if self._keep_latencies:
            self.latencies.append(time.time() - float(str(body["at"])))
        if key in self._running or number < self._last.get(key, -1):
            self.disorder += 1
        self.repeated += number == self._last.get(key, -1)
        self._last[key] = number
        if self._pause:
            self._running.add(key)
            await asyncio.sleep(self._pause)
            self._running.discard(key)
        self._count()

    def _count(self) -> None:
        self.handled += 1
        if self.handled >= self.expected:
            self._meter.stop()
            self.done.set()

    def check(self, pending: int) -> None:
        """Raise WorkError unless each message was handled once and none is left on the server."""
        if self.handled != self.expected or self.repeated or pending:
            raise WorkError(
                f"{self.handled} handled of {self.expected}, {self.repeated} repeated, {pending} not acknowledged"
            )
