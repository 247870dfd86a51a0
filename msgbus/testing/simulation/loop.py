"""Event loop without clock, network or threads: a seed decides what runs next, and time jumps to the next timer.

An hour of waiting takes no time, and the same seed runs the same program in the same order. asyncio promises that
callbacks run in the order in which they were scheduled. A program whose tasks depend on that has a race, which this
loop finds.
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
"""Far less than any timer, and far more than the rounding error of a year of additions."""
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class SimulationDeadlock(RuntimeError):
    """Every task waits for an event that will never happen."""


class SeededLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in an order that ``seed`` decides. Uses internals that CPython 3.11 to 3.13 share."""

    def __init__(self, seed: object) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = RESOLUTION_SECONDS
        self._ready: deque[asyncio.Handle] = RandomOrderQueue(Random(f"schedule {seed}"))
        self._selector = TimeJump(self._leap)

    def time(self) -> float:
        """Return the seconds since the loop was made; they pass only while no callback is ready."""
        return self._now

    def _leap(self, seconds: float) -> None:
        self._now += seconds

    def _process_events(self, event_list: object) -> None:
        """Do nothing: there are no events from outside."""

    def _write_to_self(self) -> None:
        """Do nothing: no other thread has to wake this loop."""

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Refuse to run a function in a thread: the order in which threads run cannot be controlled.

        Args:
            executor: The executor.
            func: The function.
            *args: Its arguments.

        Returns:
            Nothing; it always raises.

        Raises:
            RuntimeError: Always.
        """
        del executor, args
        raise RuntimeError(f"a simulation has no threads to run {func!r} in")


class RandomOrderQueue(deque[Any]):
    """A queue whose next item is drawn at random."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def popleft(self) -> Any:
        """Remove and return a random item."""
        drawn = int(self._random.random() * len(self))
        self[0], self[drawn] = self[drawn], self[0]
        return super().popleft()


class TimeJump:
    """A selector that advances the time instead of waiting."""

    def __init__(self, leap: Callable[[float], None]) -> None:
        self._leap = leap

    def select(self, timeout: float | None) -> tuple[()]:
        """Advance the time by ``timeout``; return no events."""
        if timeout is None:
            raise SimulationDeadlock("every task waits for an event that will never happen")
        if timeout > 0:
            self._leap(timeout)
        return ()

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def run(seed: object, main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a loop of its own.

    Args:
        seed: Decides the order in which ready callbacks run.
        main: The coroutine.

    Returns:
        Its result.
    """
    with asyncio.Runner(loop_factory=lambda: SeededLoop(seed)) as runner:
        return runner.run(main)
