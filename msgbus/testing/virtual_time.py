"""Virtual time in an ordinary event loop: while no callback is ready, time jumps to the next timer.

Delays of minutes take no time. Threads and sockets work. While a thread of the loop's executor runs, time passes as
usual. The loop does not wait for the network, so a timeout beside a network call may end early.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Generator
    from selectors import BaseSelector

__all__ = ["leaping_time"]


@contextmanager
def leaping_time(loop: AbstractEventLoop) -> Generator[None]:
    """Let the time of ``loop`` jump while the block runs; afterwards it continues from there at its usual pace.

    Raises RuntimeError for a loop that is not one of asyncio's own.
    """
    selector = getattr(loop, "_selector", None)
    if selector is None:
        raise RuntimeError(f"virtual time needs one of asyncio's own event loops, not {type(loop).__qualname__}")
    leaps = _VirtualTime(loop, selector)
    loop.time = leaps.time  # type: ignore[method-assign]  # stays: timers that are set then must not wait for it to catch up
    with (
        mock.patch.object(selector, "select", leaps.select),
        mock.patch.object(loop, "run_in_executor", leaps.run_in_executor),
    ):
        yield


class _VirtualTime:
    """Replacements of a loop's select(), time() and run_in_executor()."""

    def __init__(self, loop: AbstractEventLoop, selector: BaseSelector) -> None:
        self._select = selector.select
        self._time = loop.time
        self._run_in_executor = loop.run_in_executor
        self._leapt = 0.0
        self._threads = 0

    def time(self) -> float:
        return self._time() + self._leapt

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout <= 0 or self._threads:
            return self._select(timeout)
        if not (events := self._select(0)):
            self._leapt += timeout
        return events

    def run_in_executor(self, executor: Any, call: Callable[..., Any], *args: Any) -> Future[Any]:
        self._threads += 1
        running = self._run_in_executor(executor, call, *args)
        running.add_done_callback(self._returned)
        return running

    def _returned(self, _: Future[Any]) -> None:
        self._threads -= 1
