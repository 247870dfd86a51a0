"""Load with numbered messages per key, and a ledger of which member handled which message, when and in which order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from msgbus.errors import MsgbusError
from msgbus.publishing.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.broker import Broker
    from msgbus.message import Message

__all__ = ["Ledger", "Load", "percentile"]

KEYS = 60
BURST = 10
"""Messages published together."""


class Ledger:
    """What all members of a group handled."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.disorder = 0
        self.by: Counter[object] = Counter()
        self.moments: list[float] = []
        self._last: dict[str, int] = defaultdict(int)
        self._changed = asyncio.Event()

    def entered(self, key: str, number: int) -> None:
        """A callback begins: all smaller numbers of its key must have been handled."""
        if number > self._last[key] + 1:
            self.disorder += 1

    def handled(self, key: str, number: int, member: object) -> None:
        """A callback has ended."""
        self.counts[f"{key}-{number}"] += 1
        self._last[key] = max(self._last[key], number)
        self.by[member] += 1
        self.moments.append(asyncio.get_running_loop().time())
        self._changed.set()

    @property
    def total(self) -> int:
        """Calls that ended."""
        return len(self.moments)

    @property
    def repeated(self) -> int:
        """Calls for what had been handled before."""
        return self.total - len(self.counts)

    def silence(self, since: float) -> float:
        """The longest time since then in which no callback ended."""
        after = [moment for moment in self.moments if moment >= since]
        moments = [since, *after]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    async def until(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        """Wait until ``condition`` holds, looked at whenever a call has ended."""
        async with asyncio.timeout(seconds):
            while not condition():
                await self._change()

    async def until_more(self, count: int) -> None:
        """Wait until ``count`` more calls have ended."""
        wanted = self.total + count
        await self.until(lambda: self.total >= wanted)

    async def until_all(self, ids: set[str], seconds: float = 120) -> None:
        """Wait until each of ``ids`` was handled; AssertionError saying how many were not."""
        try:
            async with asyncio.timeout(seconds):
                while ids - self.counts.keys():
                    await self._change()
        except TimeoutError:
            lost = sorted(ids - self.counts.keys())
            raise AssertionError(f"{len(lost)} of {len(ids)} not handled: {lost[:5]}") from None

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def callback(self, member: object, least: float = 0.005, most: float = 0.020) -> Work:
        """A callback of ``member``'s that takes its time."""
        return Work(self, member, least, most)


class Work:
    """A callback that works for a random time, and writes into the ledger."""

    def __init__(self, ledger: Ledger, member: object, least: float, most: float) -> None:
        self._ledger = ledger
        self._member = member
        self._least = least
        self._most = most

    async def __call__(self, message: Message) -> None:
        key, _, number = message.id.rpartition("-")
        self._ledger.entered(key, int(number))
        await asyncio.sleep(random.uniform(self._least, self._most))  # what a handler does
        self._ledger.handled(key, int(number), self._member)


class Load:
    """Publishes at a steady rate until stop(); what was confirmed, in ``confirmed``."""

    def __init__(self, broker: Broker, queue: str, rate: float) -> None:
        self._broker = broker
        self._queue = queue
        self._every = BURST / rate
        self._number: Counter[str] = Counter()
        self._stopped = False
        self.confirmed: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.slowest = 0.0
        """Seconds of the slowest publish."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Publish no more, and wait for what is under way."""
        self._stopped = True
        await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        turn = 0
        while not self._stopped:
            keys = [f"{self._queue}.{(turn * BURST + n) % KEYS}" for n in range(BURST)]
            turn += 1
            await self._publish(keys)
            due = max(due + self._every, loop.time() - 1.0)  # what was held up is not made up for
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _publish(self, keys: list[str]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        ids = [f"{key}-{self._number[key] + 1}" for key in keys]
        messages = [Publication(b"x", message_id=one, key=key) for one, key in zip(ids, keys, strict=True)]
        try:
            verdicts = await self._broker.publish_many(self._queue, messages)
        except MsgbusError as error:
            verdicts = [error] * len(ids)  # type: ignore[list-item]  # its kind is all that counts
        self.slowest = max(self.slowest, loop.time() - began)
        for key, one, verdict in zip(keys, ids, verdicts, strict=True):
            if verdict is None:
                self._number[key] += 1
                self.confirmed.add(one)
            else:
                self.refused[type(verdict).__name__] += 1


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
