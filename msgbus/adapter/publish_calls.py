"""Calls of publish(): their verdicts as they come, and one timer for all their deadlines."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["CallTimeouts", "PendingMessage", "PublishCall"]

ItemT = TypeVar("ItemT", bound="PendingMessage")


class PublishCall:
    """One call of an adapter's publish()."""

    __slots__ = ("end", "over", "pending", "results", "until", "waiter")

    def __init__(self, messages: int, end: float) -> None:
        self.end = end
        self.pending = messages
        """How many have no verdict yet."""
        self.over = False
        """Nobody waits for it any more: what was not sent yet need not be."""
        self.results: list[BrokerError | None] = [None] * messages
        self.until = end
        self.waiter: asyncio.Future[bool] | None = None

    def finish(self, items: Sequence[ItemT], late: Callable[[ItemT], BrokerError]) -> list[BrokerError | None]:
        """The verdicts of its ``items``; ``late`` makes those that did not come in time."""
        if self.pending:
            for item in items:
                if not item.completed:
                    self.results[item.index] = late(item)
        return self.results

    def wake(self, *, settled: bool) -> None:
        """Whoever waits for it goes on."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(settled)


class PendingMessage:
    """One message of a call, on its way."""

    __slots__ = ("call", "completed", "index", "message")

    def __init__(self, call: PublishCall, place: int, message: Outgoing) -> None:
        self.call = call
        self.index = place
        self.message = message
        self.completed = False

    def complete(self, verdict: BrokerError | None) -> None:
        """Its verdict, once."""
        self.completed = True
        call = self.call
        if not call.over:
            call.results[self.index] = verdict
            call.pending -= 1
            if not call.pending:
                call.wake(settled=True)


class CallTimeouts:
    """The calls that are waited for, by one timer: one for each cost as much as its message.

    It stays when its call has ended, for the next: its time is the earliest at which anybody may be late.
    """

    def __init__(self) -> None:
        self._calls: dict[PublishCall, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, call: PublishCall, until: float) -> asyncio.Future[bool]:
        """Tells whether all of ``call`` has its verdict by ``until``. Who is told, or cancelled, calls over().

        No coroutine: with one there, and one here, a thirtieth of all that publishing a message costs was theirs.
        """
        loop = asyncio.get_running_loop()
        call.waiter = waiter = loop.create_future()
        if not call.pending:
            waiter.set_result(True)
            return waiter
        call.until = until
        self._calls[call] = None
        if until < self._due or loop is not self._loop:
            self._set(loop, until)
        return waiter

    def forget(self, call: PublishCall) -> None:
        """Nobody waits for ``call`` any more. It may be over before it has begun."""
        call.over = True
        self._calls.pop(call, None)

    async def collect_results(
        self, call: PublishCall, items: Sequence[ItemT], late: Callable[[ItemT], BrokerError]
    ) -> list[BrokerError | None]:
        """Those of ``call``, at its end at the latest; ``late`` makes those that did not come in time."""
        try:
            await self.wait(call, call.end)
        finally:
            self.forget(call)
        return call.finish(items, late)

    def _set(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due, self._loop = loop.call_at(when, self._expire_due, loop), when, loop

    def _expire_due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._due = None, math.inf
        now = loop.time()
        later: list[float] = []
        for call in self._calls:
            if call.until <= now:
                call.wake(settled=False)
            else:
                later.append(call.until)
        if later:
            self._set(loop, min(later))
