"""An event loop without clock, network or threads: a seed draws what runs next, and time jumps to the next timer.

An hour of waiting takes no time, and the same seed runs the same program in the same order. asyncio promises that
callbacks run in the order in which they were scheduled; a program that needs it between its tasks has a race, and this
loop finds it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

__all__ = ["SeededLoop", "SimulationDeadlock", "run"]

RESOLUTION_SECONDS: Final = 1e-9
"""Seconds; far less than any timer, far more than the error of adding them up for a year."""
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class SimulationDeadlock(RuntimeError):
    """Everything waits for something that will never come."""


class SeededLoop(asyncio.BaseEventLoop):
    """Runs what is ready in an order that ``seed`` decides. Rests on what CPython 3.11 to 3.13 have in common."""

    def __init__(self, seed: object) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = RESOLUTION_SECONDS
        self._ready: deque[asyncio.Handle] = RandomOrderQueue(Random(f"schedule {seed}"))
        self._selector = TimeJump(self._leap)

    def time(self) -> float:
        """Seconds since the loop was made; they pass only while nothing is ready."""
        return self._now

    def _leap(self, seconds: float) -> None:
        self._now += seconds

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread that could have to wake it."""

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Threads run in an order of their own: refused."""
        del executor, args
        raise RuntimeError(f"a simulation has no threads to run {func!r} in")


class RandomOrderQueue(deque[Any]):
    """A queue whose next item is drawn from all."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def popleft(self) -> Any:
        """Any one of them."""
        drawn = int(self._random.random() * len(self))
        self[0], self[drawn] = self[drawn], self[0]
        return super().popleft()


class TimeJump:
    """In place of a selector: instead of waiting it lets the time pass."""

    def __init__(self, leap: Callable[[float], None]) -> None:
        self._leap = leap

    def select(self, timeout: float | None) -> tuple[()]:
        """Nothing ever comes from outside."""
        if timeout is None:
            raise SimulationDeadlock("everything waits for something that will never come")
        if timeout > 0:
            self._leap(timeout)
        return ()

    def close(self) -> None:
        """There is nothing to let go of."""


def run(seed: object, main: Coroutine[Any, Any, _T]) -> _T:
    """What ``main`` returns, run in a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: SeededLoop(seed)) as runner:
        return runner.run(main)
