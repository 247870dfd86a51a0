"""Bounded waits that adapters and core share: a reusable timeout, events, and the end of tasks."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["DRAIN_SECONDS", "TASK_END_TIMEOUT_SECONDS", "ReusableTimeout", "cancel_and_wait", "wait_for_event"]

DRAIN_SECONDS: Final = 18.0
"""Seconds that the drain of a session may take while its member goes on: its queue is released, or revoked. Less than
the default grace of a stop, 25 s."""
TASK_END_TIMEOUT_SECONDS: Final = 1.0
"""Seconds that a cancelled task has to end, where its caller must not hang."""


class ReusableTimeout:
    """A timeout for one block at a time: ``with timeout.within(5.0):`` raises TimeoutError when the block takes longer.

    ``asyncio.timeout()`` makes a timer for each block; this one keeps its timer, for callers that wait often. The next
    block may be another task's.
    """

    def __init__(self) -> None:
        self._until = math.inf
        self._expired = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def within(self, seconds: float) -> Self:
        """Set the limit of the block that begins now.

        Args:
            seconds: Seconds that the block may take.
        """
        loop = asyncio.get_running_loop()
        self._until = loop.time() + seconds
        if self._until < self._due or loop is not self._loop:
            self._set(loop)
        return self

    def __enter__(self) -> None:
        """Begin the block. The current task is cancelled at the limit, as by ``asyncio.timeout()``."""
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("ReusableTimeout must be used inside a task")
        self._expired = False
        self._cancelling = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the block. Raise TimeoutError if the limit has cancelled it, as ``asyncio.timeout()`` does."""
        self._until = math.inf
        task, self._task = self._task, None
        if self._expired and task is not None:
            ours = task.uncancel() <= self._cancelling  # else another caller has cancelled the task as well
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


async def wait_for_event(seconds: float, event: asyncio.Event) -> bool:
    """Wait until an event is set.

    Args:
        seconds: Seconds to wait at most.
        event: The event.

    Returns:
        Whether the event was set in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def cancel_and_wait(*tasks: asyncio.Future[Any] | None, timeout: float | None = TASK_END_TIMEOUT_SECONDS) -> None:
    """Cancel tasks and wait until they have ended.

    Nothing is raised. The caller looks at ``task.exception()`` where a task may end with an error of its own; asyncio
    reports an error that no code has looked at.

    Args:
        tasks: The tasks to end; None is passed over.
        timeout: Seconds to wait for all of them together; None waits without a limit.
    """
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=timeout)
