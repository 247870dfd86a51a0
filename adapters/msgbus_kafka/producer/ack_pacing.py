"""Staggered completion of publish calls, to keep the producer's pipeline full.

aiokafka keeps one produce request in flight per node. Callers that await each publish move in lock step with it: all
are answered together, all publish again, and client and broker take turns being idle.

If this thread was busy for more than half of the time since the last response, ``AckPacer`` completes half of the
callers at once and the other half some event-loop turns later, when the first half's request has been sent. When the
broker is the bottleneck, all callers are completed together: half as many responses are faster then.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AckPacer"]

TURNS_UNTIL_SENT: Final = 3
"""Event-loop turns from a completed call to the next request: the caller's, the sender's, and its task's."""
TURNS_UNTIL_NEXT_REQUEST: Final = 1
"""Event-loop turns from a response to the request that waits for it."""


class AckPacer:
    """Completes the callers whose messages a response has confirmed."""

    def __init__(self, waits: Callable[[], bool], cpu: Callable[[], float] = time.thread_time) -> None:
        """Prepare a pacer.

        Args:
            waits: Returns whether a batch waits for the next request.
            cpu: Returns the CPU time of this thread, in seconds.
        """
        self._waits = waits
        self._worked = cpu
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered: list[Callable[[], None]] = []
        self._now = 0.0
        self._cpu = 0.0

    def complete(self, tell: Callable[[], None]) -> None:
        """Complete the callers of one batch through ``tell``; batches of one response arrive in one event-loop turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._answered = loop, []  # callers of another event loop are gone
        self._answered.append(tell)
        if len(self._answered) == 1:
            loop.call_soon(self._complete_in_halves)

    def _complete_in_halves(self) -> None:
        batches, self._answered = self._answered, []
        if not self._busy():
            _tell(batches)
        elif self._waits():
            self._later(TURNS_UNTIL_NEXT_REQUEST, batches)
        else:
            half = (len(batches) + 1) // 2
            _tell(batches[:half])
            self._later(TURNS_UNTIL_SENT, batches[half:])

    def _busy(self) -> bool:
        """Return whether this thread was busy for more than half of the time since the last response."""
        now, cpu = asyncio.get_running_loop().time(), self._worked()
        busy = cpu - self._cpu > (now - self._now) / 2
        self._now, self._cpu = now, cpu
        return busy

    def _later(self, turns: int, batches: Sequence[Callable[[], None]]) -> None:
        if turns and batches:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, batches)
        else:
            _tell(batches)


def _tell(batches: Sequence[Callable[[], None]]) -> None:
    for tell in batches:
        tell()
