"""Publishers in two halves, where this process is busier than the server: one is on its way while the other is made.

A producer has one request under way to a node, and publishers that await each message go in step with it: all of them
in one request, an answer, all of them again, and each side waits while the other works. So half of an answer's callers
are told some turns of the event loop later, when what the others publish next is on its way. From then on each answer
finds the next request ready. Where the server takes longer than we do, all together are faster: half as many answers.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AckPacer"]

TURNS_UNTIL_SENT: Final = 3
"""Turns of the event loop from being told to the request: the caller's, the sender's, and its task's."""
TURNS_UNTIL_NEXT_REQUEST: Final = 1
"""Turns from an answer to the request that waits for it."""


class AckPacer:
    """Tells the callers whose messages an answer has confirmed."""

    def __init__(self, waits: Callable[[], bool], cpu: Callable[[], float] = time.thread_time) -> None:
        """``waits``: whether something waits for the next request; ``cpu``: seconds that this thread has worked."""
        self._waits = waits
        self._worked = cpu
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered: list[Callable[[], None]] = []
        self._now = 0.0
        self._cpu = 0.0

    def complete(self, tell: Callable[[], None]) -> None:
        """``tell`` the callers of one batch; those of the same answer come within the same turn of the event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._answered = loop, []  # what another loop has left over is nobody's any more
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
        """Whether this thread has worked for more than half of the time since the last answer."""
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
