"""A service's interest in one queue: its callback, its policy, and the handle that consume() returns."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from msgbus.errors import BrokerClosed, ConfigurationError, WouldDeadlock
from msgbus.retry import RetryPolicy

if TYPE_CHECKING:
    from msgbus.adapter import Start
    from msgbus.adapter.address import Address
    from msgbus.errors import MsgbusError
    from msgbus.message import Message

__all__ = ["Callback", "Subscription", "SubscriptionCounts", "SubscriptionOwner", "SubscriptionState", "running_member"]

Callback = Callable[["Message"], Awaitable[object]]
"""What a service writes once: an async function of one message."""
SubscriptionState = Literal["registered", "waiting", "active", "paused", "cancelled"]

running_member: ContextVar[object] = ContextVar("inside")
"""The member whose callback this task runs; unset elsewhere."""


class SubscriptionOwner(Protocol):
    """The member a subscription belongs to."""

    def subscriptions_changed(self) -> None:
        """The subscriptions are not what the consumer has; apply them soon."""

    def discard(self, subscription: Subscription) -> None:
        """This one is cancelled."""

    def reopen(self, subscription: Subscription) -> None:
        """What was received for this one and has not started goes back."""


@dataclass(slots=True)
class SubscriptionCounts:
    """What became of a subscription's messages in this process."""

    handled: int = 0
    failed: int = 0
    """Attempts that failed."""
    retried: int = 0
    """Sent to a retry queue."""
    dead_lettered: int = 0
    fenced: int = 0
    """Calls that ended when their message was no longer this member's: their end counted for nothing."""
    outages: int = 0
    """How often a retry queue or the dead-letter queue could not be written."""


class Subscription:
    """What consume() returns.

    ``state``: ``registered`` (the broker has not started), ``waiting`` (not yet assigned, or the queue does not exist
    yet), ``active``, ``paused`` (what its callback needs is off; see RetryPolicy), ``cancelled``. ``counts`` is since
    consume(), ``since`` the event loop's time at which it came into this state, ``reason`` what paused it.
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
        """Wait until the server has assigned the queue to this member: it counts for what is published from now on.

        While the queue does not exist this goes on. Raises BrokerClosed when the broker closes or this is cancelled
        meanwhile, AccessRefused when the server refuses the group one of its queues (consuming is tried again all the
        same), WouldDeadlock inside a callback of the same group.
        """
        self._not_inside("ready()")
        if self.state == "cancelled":
            raise BrokerClosed(f"{self!r} was cancelled")
        if self.state not in {"active", "paused"}:
            self._ready = self._ready or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ready)

    async def cancel(self) -> None:
        """Stop consuming; what is running is finished and acknowledged, the rest goes back. Idempotent.

        Raises WouldDeadlock inside a callback of the same group.
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

    # What follows is the member's side.

    def attach(self, owner: SubscriptionOwner | None) -> None:
        """A member has taken this on (or, None, it has closed)."""
        self._owner = owner
        self.reason = ""
        if self.state != "cancelled":
            self._become("waiting" if owner else "registered")

    def mark_active(self) -> None:
        """The consumer has it."""
        self._become("paused" if self.reason else "active")
        _resolve(self._ready)
        self._ready = None

    def mark_waiting(self) -> None:
        """The queue does not exist, or the consumer was lost."""
        if self.state in {"active", "paused"}:
            self._become("waiting")

    def set_paused(self, reason: str) -> None:
        """The breaker has opened, for this reason, or, with an empty one, closed."""
        self.reason = reason
        if self.state in {"active", "paused"}:
            self._become("paused" if reason else "active")

    def mark_cancelled(self, error: BrokerClosed) -> None:
        """Cancelled: whoever waits in ready() gets ``error``."""
        self._become("cancelled")
        self.fail(error)

    def fail(self, error: MsgbusError) -> None:
        """Whoever waits in ready() gets ``error``."""
        _resolve(self._ready, error)
        self._ready = None

    def finish_cancel(self) -> None:
        """Nothing of it is in hand any more: cancel() returns."""
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
        future.exception()  # nobody need be waiting


def _check(address: Address, callback: object, concurrency: object) -> None:
    of_object = getattr(callback, "__call__", None)  # noqa: B004 - an object with an async __call__ is welcome
    if not (inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(of_object)):
        raise ConfigurationError(f"queue {address}: the callback must be an async function of one message")
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(f"queue {address}: concurrency must be a whole number from 1, not {concurrency!r}")
