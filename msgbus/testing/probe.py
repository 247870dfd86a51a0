"""Probe: a callback that records its calls, fails and blocks on demand, and can be waited for without sleeping."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from msgbus.message import Message

__all__ = ["DEADLINE_SECONDS", "Probe"]

DEADLINE_SECONDS = float(os.environ.get("MSGBUS_TEST_DEADLINE", "45"))
"""Deadline of everything that a case waits for: longer than a session takes to expire."""


class Probe:
    """A callback that records its messages: ``entered`` of every call, ``handled`` of every call that returned."""

    def __init__(self) -> None:
        self.entered: list[Message] = []
        self.handled: list[Message] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self._failures: dict[str, int] = {}
        self._closed: Callable[[Message], bool] = lambda _: False
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        """Record the call, wait while ``hold()`` is in effect, and fail as ``fail()`` says.

        Args:
            message: The message of this call.

        Raises:
            RuntimeError: ``fail()`` was called for this attempt of the message.
        """
        self.entered.append(message)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._notify()
            await self._gate(message)
        except asyncio.CancelledError:
            self.cancelled += 1
            await self._notify()
            raise
        finally:
            self.running -= 1
        if self._failures.get(message.id, 0) >= message.attempt:
            raise RuntimeError(f"told to fail at attempt {message.attempt}")
        self.handled.append(message)
        await self._notify()

    def fail(self, message_id: str, times: int) -> None:
        """Make the first attempts of a message fail.

        Args:
            message_id: Id of the message.
            times: How many attempts fail.
        """
        self._failures[message_id] = times

    def hold(self, which: Callable[[Message], bool] = lambda _: True) -> None:
        """Block calls until ``release()``.

        Args:
            which: Returns whether the call for a message is blocked; default: every call.
        """
        self._closed = which

    async def release(self) -> None:
        """Unblock all calls that ``hold()`` blocks."""
        self._closed = lambda _: False
        await self._notify()

    async def look_again(self) -> None:
        """Ask ``hold()``'s ``which`` again about the blocked calls."""
        await self._notify()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, for at most ``DEADLINE_SECONDS``.

        Args:
            condition: Is checked at every call of the probe.
            what: Names the condition in the error.

        Raises:
            AssertionError: The condition did not hold in time.
        """
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {DEADLINE_SECONDS:g} s; {self}") from None

    async def until_handled(self, ids: Iterable[str]) -> None:
        """Wait until messages are handled, for at most ``DEADLINE_SECONDS``.

        Args:
            ids: Ids of the messages.

        Raises:
            AssertionError: Not all were handled in time.
        """
        missing = set(ids)
        looked_at = 0

        def all_handled() -> bool:  # checked at each call: of 100,000 handled messages only the new ones
            nonlocal looked_at
            missing.difference_update(one.id for one in self.handled[looked_at:])
            looked_at = len(self.handled)
            return not missing

        await self.until(all_handled, f"handling {len(missing)} messages")

    async def until_entered(self, count: int) -> None:
        """Wait until calls have begun, for at most ``DEADLINE_SECONDS``.

        Args:
            count: How many calls.

        Raises:
            AssertionError: Fewer calls had begun in time.
        """
        await self.until(lambda: len(self.entered) >= count, f"{count} calls")

    @property
    def ids(self) -> list[str]:
        """Ids of the handled messages, in the order in which they were handled."""
        return [one.id for one in self.handled]

    def times(self, ids: Iterable[str]) -> list[int]:
        """Count how often messages were handled.

        Args:
            ids: Ids of the messages.

        Returns:
            The count for each of ``ids``, in their order.
        """
        counts = Counter(self.ids)
        return [counts[one] for one in ids]

    def __repr__(self) -> str:
        return f"{len(self.entered)} calls, {len(self.handled)} handled, {self.running} running"

    async def _gate(self, message: Message) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed(message))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncGenerator[None]:
    """Raise AssertionError with ``what`` if the block takes longer than ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None
