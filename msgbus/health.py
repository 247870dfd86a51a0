"""Health of a broker, for readiness probes and operators: answered within a deadline, and never by an error.

Concurrent callers share one cheap round trip to the server. The state of the consumers is known without I/O.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from msgbus.adapter.timeouts import cancel_and_wait
from msgbus.errors import MsgbusError, QueueNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter import Adapter
    from msgbus.errors import BrokerError
    from msgbus.subscription import Subscription

__all__ = ["Health", "HealthProbe", "QueueHealth", "QueueState", "queue_health"]

QueueState = Literal["active", "paused", "missing", "refused", "waiting", "draining", "stopped"]
"""State of a queue that is consumed.

- ``active``: consumed.
- ``paused``: the circuit breaker is open, and only probes run.
- ``missing``: the queue does not exist.
- ``refused``: the server does not let the group consume it, for the reason given; it is tried again with backoff.
- ``waiting``: not assigned yet, or not any more.
- ``draining``: in-flight messages are finished, and no more are received.
- ``stopped``: the broker has not been started, or was closed.
"""

MISSING = "the queue does not exist; create_queue() makes it"
"""Reason of a queue that is ``missing``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """State of one queue that this process consumes."""

    queue: str
    group: str
    state: QueueState
    since: datetime | None
    """When the state began; None if the subscription was never started."""
    reason: str = ""
    """The problem, in words; empty if there is none."""

    @property
    def ready(self) -> bool:
        """Whether its messages are received. A paused queue counts as ready: the outage is the callback's."""
        return self.state == "paused" or (self.state == "active" and not self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Answer of ``Broker.health()``."""

    ready: bool
    """Whether the server answers and accepts messages, and every subscribed queue is ready."""
    connected: bool
    """Whether the server answered this time."""
    since: datetime
    """Since when ``ready`` and ``connected`` have had these values, as far as ``health()`` was called."""
    reasons: tuple[str, ...]
    """All problems, in words, the server's first; empty only if ``ready``."""
    queues: tuple[QueueHealth, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as a dict for JSON, with times in ISO 8601."""
        answer = asdict(self)
        for one in (answer, *answer["queues"]):
            one["since"] = one["since"] and one["since"].isoformat()
        return answer


def queue_health(
    subscription: Subscription,
    when: Callable[[float], datetime],
    *,
    refusal: BrokerError | None,
    draining: bool,
    trouble: str,
) -> QueueHealth:
    """Return the state of ``subscription``. Pure.

    Args:
        subscription: The subscription.
        when: Converts the event loop's time into a date.
        refusal: Why the server does not let the group consume the queue; None if it does.
        draining: Whether the member drains it.
        trouble: The problem of its consumer, in words; empty if there is none.
    """
    state, reason = _state(subscription, refusal, draining=draining, trouble=trouble)
    since = None if subscription.since is None else when(subscription.since)
    return QueueHealth(queue=subscription.queue, group=subscription.group, state=state, since=since, reason=reason)


def _state(
    subscription: Subscription, refusal: BrokerError | None, *, draining: bool, trouble: str
) -> tuple[QueueState, str]:
    if draining:
        return "draining", ""
    match subscription.state:
        case "active":
            return "active", trouble
        case "paused":
            return "paused", subscription.reason
        case "waiting":
            if trouble or refusal is None:
                return "waiting", trouble or "not assigned yet"
            return ("missing", MISSING) if isinstance(refusal, QueueNotFound) else ("refused", str(refusal))
        case _:
            return "stopped", "the broker is not running"


class HealthProbe:
    """Checks a server through its adapter, once for concurrent callers, and remembers since when the state lasts."""

    def __init__(self, adapter: Adapter, clock: Callable[[], float]) -> None:
        """Create a probe of ``adapter``. ``clock`` returns the time of day, in seconds since 1970."""
        self._adapter = adapter
        self._clock = clock
        self._asking: asyncio.Task[str] | None = None
        self._verdict: tuple[bool, bool] | None = None
        self._since = datetime.fromtimestamp(0, UTC)

    async def health(self, within: float, look: Callable[[], Sequence[QueueHealth]], ending: str) -> Health:
        """Return the health within ``within`` seconds.

        Args:
            within: Seconds that the call takes at most.
            look: Returns the state of each queue.
            ending: That the broker is closed or being closed, in words; else empty.
        """
        connected, trouble = (False, "") if ending else await self._ask(within)
        queues = tuple(look())
        ready = connected and not (trouble or ending) and all(one.ready for one in queues)
        reasons = [ending or trouble] if ending or trouble else []
        reasons += [
            f"queue {one.queue}, group {one.group}: {one.state}: {one.reason}"
            for one in queues
            if one.reason and one.reason != trouble
        ]
        if self._verdict != (ready, connected):
            self._verdict, self._since = (ready, connected), self.now()
        return Health(ready=ready, connected=connected, since=self._since, reasons=tuple(reasons), queues=queues)

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def when(self, moment: float) -> datetime:
        """Return the time of day at ``moment`` of the event loop's time."""
        return self.now() - timedelta(seconds=asyncio.get_running_loop().time() - moment)

    async def _ask(self, within: float) -> tuple[bool, str]:
        # A check that takes longer goes on by itself: connecting may, and a cancelled ping breaks its connection.
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.get_running_loop().create_task(self._adapter.ping(), name="msgbus health")
            asking.add_done_callback(_seen)  # its caller may have stopped waiting
        await asyncio.wait({asking}, timeout=within)
        if not asking.done():
            return False, f"the server did not answer within {within:g} s"
        if asking.cancelled():
            return False, "the broker was closed meanwhile"
        error = asking.exception()
        if error is None:
            return True, asking.result()
        return False, str(error) if isinstance(error, MsgbusError) else f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        """Cancel a check in progress. Never raises."""
        await cancel_and_wait(self._asking)


def _seen(asking: asyncio.Task[str]) -> None:
    if not asking.cancelled():
        asking.exception()
