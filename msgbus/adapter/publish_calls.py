"""Publish calls of an adapter: results as they arrive, and one timer for all their deadlines."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

from msgbus.errors import BrokerUnavailable, PublishUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["CallTimeouts", "PendingMessage", "PublishCall", "late_result"]

ItemT = TypeVar("ItemT", bound="PendingMessage")


class PublishCall:
    """One call of ``Adapter.publish()``."""

    __slots__ = ("end", "over", "pending", "results", "until", "waiter")

    def __init__(self, messages: int, end: float) -> None:
        """Create a call.

        Args:
            messages: How many messages it publishes.
            end: When it ends, in seconds of the event loop's time.
        """
        self.end = end
        self.pending = messages
        """Messages that have no publish result yet."""
        self.over = False
        """Whether the caller has stopped waiting: messages that were not sent need not be sent."""
        self.results: list[BrokerError | None] = [None] * messages
        self.until = end
        self.waiter: asyncio.Future[bool] | None = None

    def finish(self, items: Sequence[ItemT], late: Callable[[ItemT], BrokerError]) -> list[BrokerError | None]:
        """Return the publish results of the call, in order.

        Args:
            items: The messages of the call.
            late: Makes the result of a message that has none yet.
        """
        if self.pending:
            for item in items:
                if not item.completed:
                    self.results[item.index] = late(item)
        return self.results

    def wake(self, *, settled: bool) -> None:
        """Wake the caller that waits for the results.

        Args:
            settled: Whether every message has its result.
        """
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(settled)


class PendingMessage:
    """One message of a publish call, in flight to the server."""

    __slots__ = ("call", "completed", "index", "message", "sent")

    def __init__(self, call: PublishCall, place: int, message: Outgoing) -> None:
        """Create a pending message.

        Args:
            call: The call that it belongs to.
            place: Its index in the call.
            message: The message.
        """
        self.call = call
        self.index = place
        self.message = message
        self.completed = False
        self.sent: Any = False
        """True, or anything true, once the server may have the message: a late result is then unknown."""

    def complete(self, result: BrokerError | None) -> None:
        """Set the publish result. Called once for each message.

        Args:
            result: None if the server has confirmed the message, else the error.
        """
        self.completed = True
        call = self.call
        if not call.over:
            call.results[self.index] = result
            call.pending -= 1
            if not call.pending:
                call.wake(settled=True)


def late_result(item: PendingMessage, where: str, timeout: float) -> BrokerError:
    """Return the publish result of a message that has none when its call ends.

    Args:
        item: The message.
        where: The server, for the error's text.
        timeout: Seconds that the call had.

    Returns:
        PublishUnknown if the message was sent, since it may have arrived; else BrokerUnavailable.
    """
    message = item.message
    if item.sent:
        return PublishUnknown(
            f"{where}: queue {message.address}: message {message.id} was not confirmed within {timeout:.3g} s; "
            "it may have arrived"
        )
    return BrokerUnavailable(f"{where}: queue {message.address}: not sent within {timeout:.3g} s")


class CallTimeouts:
    """Deadlines of all waiting publish calls, by one timer: a timer for each cost as much as the message itself.

    The timer stays set when its call has ended, for the next call: it fires at the earliest time at which a call may be
    late.
    """

    def __init__(self) -> None:
        self._calls: dict[PublishCall, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, call: PublishCall, until: float) -> asyncio.Future[bool]:
        """Return a future that becomes True with the last result of a call, or False when the time is over.

        The caller must call ``forget()`` when the future is done or cancelled. This is not a coroutine: coroutines here
        and in the caller took a thirtieth of the cost of publishing a message.

        Args:
            call: The call.
            until: When to stop waiting, in seconds of the event loop's time.
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
        """Stop waiting for a call.

        Args:
            call: The call; its wait may not have begun.
        """
        call.over = True
        self._calls.pop(call, None)

    async def collect_results(
        self, call: PublishCall, items: Sequence[ItemT], late: Callable[[ItemT], BrokerError]
    ) -> list[BrokerError | None]:
        """Wait for the publish results of a call until its end.

        Args:
            call: The call.
            items: The messages of the call.
            late: Makes the result of a message that has none in time.

        Returns:
            The results, in order: None for a confirmed message, else the error.
        """
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
