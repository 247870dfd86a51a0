"""A time limit for who waits often, one block at a time: asyncio.timeout() makes a timer for each, this one's stays."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ReusableTimeout", "wait_for_event"]


class ReusableTimeout:
    """``with limit.within(5.0):`` raises TimeoutError where the block takes longer; the next may be another task's."""

    def __init__(self) -> None:
        self._until = math.inf
        self._expired = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def within(self, seconds: float) -> Self:
        """Of the block that begins now."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + seconds
        if self._until < self._due or loop is not self._loop:
            self._set(loop)
        return self

    def __enter__(self) -> None:
        """The task that enters is cancelled at the limit, as by asyncio.timeout()."""
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limit is for a task")
        self._expired = False
        self._cancelling = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See asyncio.timeout()."""
        self._until = math.inf
        task, self._task = self._task, None
        if self._expired and task is not None:
            ours = task.uncancel() <= self._cancelling  # or somebody else has cancelled it as well
            if ours and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due, self._loop = loop.call_at(self._until, self._look, loop), self._until, loop

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._due = None, math.inf
        if self._task is None:
            return
        if self._until > loop.time():
            self._set(loop)
        elif not self._expired:
            self._expired = True
            self._task.cancel()


async def wait_for_event(seconds: float, event: asyncio.Event) -> None:
    """Return when ``event`` is set, or after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
