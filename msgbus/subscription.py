"""Subscription: the callback and policy for one queue, and the handle that ``consume()`` returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from msgbus.callbacks import check_callback
from msgbus.errors import BrokerClosed, ConfigurationError, WouldDeadlock
from msgbus.retry import RetryPolicy

if TYPE_CHECKING:
    from msgbus.adapter import Start
    from msgbus.adapter.address import Address
    from msgbus.errors import MsgbusError
    from msgbus.message import Message

__all__ = ["Callback", "Subscription", "SubscriptionCounts", "SubscriptionOwner", "SubscriptionState", "running_member"]

Callback = Callable[["Message"], Awaitable[object]]
"""An async function of one message."""
SubscriptionState = Literal["registered", "waiting", "active", "paused", "cancelled"]

running_member: ContextVar[object] = ContextVar("inside")
"""The member whose callback the current task runs; unset elsewhere."""


class SubscriptionOwner(Protocol):
    """The part of the member that a subscription and its worker pool use. The member itself is in a higher layer."""

    def subscriptions_changed(self) -> None:
        """Apply the subscriptions and their limits again soon."""

    def discard(self, subscription: Subscription) -> None:
        """Stop consuming the queue of ``subscription``, then call its ``finish_cancel()``."""

    def reopen(self, subscription: Subscription) -> None:
        """End the sessions of the queue and begin new ones, so that deliveries that have not started go back."""


@dataclass(slots=True)
class SubscriptionCounts:
    """Counts of a subscription's messages in this process."""

    handled: int = 0
    """Messages whose callback returned."""
    failed: int = 0
    """Attempts that failed."""
    retried: int = 0
    """Messages sent to a retry queue after a failure."""
    dead_lettered: int = 0
    """Messages sent to the dead-letter queue."""
    fenced: int = 0
    """Callbacks that ended after their session was over: their outcome did not count."""
    outages: int = 0
    """How often a retry queue or the dead-letter queue could not be written."""


class Subscription:
    """Handle of a subscription; ``consume()`` returns it.

    Attributes:
        state: ``registered`` (the broker has not started), ``waiting`` (not yet assigned, or the queue does not exist),
            ``active``, ``paused`` (by the circuit breaker, see RetryPolicy), or ``cancelled``.
        since: The event loop's time at which the state began; None before the first change.
        reason: Why it is paused; else empty.
        counts: Messages since ``consume()``.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - consume()'s arguments
        self,
        address: Address,
        group: str,
        callback: Callback,
        concurrency: int,
        policy: RetryPolicy | None = None,
        start: Start | None = None,
    ) -> None:
        _check(address, callback, concurrency)
        self.address = address
        self.group = group
        self.callback = callback
        self.concurrency = concurrency
        self.policy = policy or RetryPolicy()
        self.start = start
        self.counts = SubscriptionCounts()
        self.state: SubscriptionState = "registered"
        self.since: float | None = None
        self.reason = ""
        self._owner: SubscriptionOwner | None = None
        self._ready: asyncio.Future[None] | None = None
        self._cancel_finished: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Subscription {self.address} in group {self.group}: {self.state}>"

    @property
    def queue(self) -> str:
        """The queue's full name."""
        return self.address.queue

    async def ready(self) -> None:
        """Wait until the server has assigned the queue to this member: it gets what is published from now on.

        Waits as long as the queue does not exist.

        Raises:
            BrokerClosed: The broker was closed, or the subscription cancelled, meanwhile.
            BrokerError: The server refuses the queue, and waiting alone cannot help (for example AccessRefused). The
                member goes on trying, and other queues are not affected.
            WouldDeadlock: A callback of the same group awaits this call.
        """
        self._not_inside("ready()")
        if self.state == "cancelled":
            raise BrokerClosed(f"{self!r} was cancelled")
        if self.state not in {"active", "paused"}:
            self._ready = self._ready or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ready)

    async def cancel(self) -> None:
        """Stop consuming: finish and acknowledge running callbacks, give back the other deliveries. Idempotent.

        Raises:
            WouldDeadlock: A callback of the same group awaits this call.
        """
        self._not_inside("cancel()")
        if self.state == "cancelled" and self._cancel_finished is None:
            return
        if self.state != "cancelled":
            self.mark_cancelled(BrokerClosed(f"{self!r} was cancelled"))
            if self._owner is None:
                return
            self._cancel_finished = asyncio.get_running_loop().create_future()
            self._owner.discard(self)
        if self._cancel_finished is not None:
            await asyncio.shield(self._cancel_finished)

    def _not_inside(self, call: str) -> None:
        if self._owner is not None and running_member.get(None) is self._owner:
            raise WouldDeadlock(
                f"{call} of queue {self.queue!r} inside a callback of group {self.group!r}: the change waits for that "
                "callback to end; call it elsewhere, or start a task that outlives the callback without awaiting it"
            )

    # For the member.

    def attach(self, owner: SubscriptionOwner | None) -> None:
        """Set the member that consumes the queue.

        Args:
            owner: The member; None when it has stopped.
        """
        self._owner = owner
        self.reason = ""
        if self.state != "cancelled":
            self._become("waiting" if owner else "registered")

    def mark_active(self) -> None:
        """Mark the subscription as assigned: the consumer consumes the queue."""
        self._become("paused" if self.reason else "active")
        _resolve(self._ready)
        self._ready = None

    def mark_waiting(self) -> None:
        """Mark the subscription as not assigned: the queue does not exist, or the consumer was lost."""
        if self.state in {"active", "paused"}:
            self._become("waiting")

    def set_paused(self, reason: str) -> None:
        """Mark the subscription as paused, or as going on.

        Args:
            reason: Why it is paused, in words; empty if it goes on.
        """
        self.reason = reason
        if self.state in {"active", "paused"}:
            self._become("paused" if reason else "active")

    def mark_cancelled(self, error: BrokerClosed) -> None:
        """Mark the subscription as cancelled.

        Args:
            error: The error with which a pending ``ready()`` ends.
        """
        self._become("cancelled")
        self.fail(error)

    def fail(self, error: MsgbusError) -> None:
        """End a pending ``ready()`` with an error.

        Args:
            error: The error.
        """
        _resolve(self._ready, error)
        self._ready = None

    def finish_cancel(self) -> None:
        """Make ``cancel()`` return: none of its deliveries is in flight."""
        _resolve(self._cancel_finished)
        self._cancel_finished = None

    def _become(self, state: SubscriptionState) -> None:
        if self.state != state:
            self.state, self.since = state, asyncio.get_running_loop().time()


def _resolve(future: asyncio.Future[None] | None, error: MsgbusError | None = None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # retrieved: possibly no caller waits


def _check(address: Address, callback: object, concurrency: object) -> None:
    check_callback(f"queue {address}", callback)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ConfigurationError(f"queue {address}: concurrency must be a whole number from 1, not {concurrency!r}")
