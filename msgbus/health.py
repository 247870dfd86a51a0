"""How a broker is, for readiness probes and for people: asked within a deadline, and never an error.

The server is asked by one cheap round trip, whoever asks; what its consumers do is known here already.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from msgbus.adapter.timeouts import cancel_and_wait
from msgbus.errors import MsgbusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter import Adapter
    from msgbus.subscription import Subscription

__all__ = ["Health", "HealthProbe", "QueueHealth", "QueueState", "queue_health"]

QueueState = Literal["active", "paused", "missing", "waiting", "draining", "stopped"]
"""``active``: consumed. ``paused``: what its callback needs is off, and only a few messages are tried. ``missing``:
the queue does not exist. ``waiting``: not assigned yet, or not any more. ``draining``: what is in hand is finished,
nothing more comes. ``stopped``: the broker has not been started, or was closed."""

MISSING = "the queue does not exist; create_queue() makes it"
"""Reason of a queue that is ``missing``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """One queue that this process consumes."""

    queue: str
    group: str
    state: QueueState
    since: datetime | None
    """When it came into this state; None if it was never started."""
    reason: str = ""
    """What is wrong, in words; empty where nothing is."""

    @property
    def ready(self) -> bool:
        """Its messages are received. A paused one counts: what fails is the callback's business."""
        return self.state == "paused" or (self.state == "active" and not self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What Broker.health() tells."""

    ready: bool
    """The server answers and takes messages, and every queue that is to be consumed is."""
    connected: bool
    """The server answered just now."""
    since: datetime
    """Since when ``ready`` and ``connected`` have been as they are, as far as anybody has asked."""
    reasons: tuple[str, ...]
    """All that is wrong, in words, the server first; not empty unless ``ready``."""
    queues: tuple[QueueHealth, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times as ISO 8601."""
        told = asdict(self)
        for one in (told, *told["queues"]):
            one["since"] = one["since"] and one["since"].isoformat()
        return told


def queue_health(
    subscription: Subscription, when: Callable[[float], datetime], *, missing: bool, draining: bool, trouble: str
) -> QueueHealth:
    """How ``subscription`` is. ``when`` makes a date of the event loop's time, ``trouble`` is its consumer's. Pure."""
    state, reason = _state(subscription, missing=missing, draining=draining, trouble=trouble)
    since = None if subscription.since is None else when(subscription.since)
    return QueueHealth(queue=subscription.queue, group=subscription.group, state=state, since=since, reason=reason)


def _state(subscription: Subscription, *, missing: bool, draining: bool, trouble: str) -> tuple[QueueState, str]:
    if draining:
        return "draining", ""
    match subscription.state:
        case "active":
            return "active", trouble
        case "paused":
            return "paused", subscription.reason
        case "waiting":
            return ("missing", MISSING) if missing and not trouble else ("waiting", trouble or "not assigned yet")
        case _:
            return "stopped", "the broker is not running"


class HealthProbe:
    """Asks an adapter how its server is, once for all who ask meanwhile, and remembers since when it has been so."""

    def __init__(self, adapter: Adapter, clock: Callable[[], float]) -> None:
        """``clock`` gives the time of day, in seconds since 1970."""
        self._adapter = adapter
        self._clock = clock
        self._asking: asyncio.Task[str] | None = None
        self._verdict: tuple[bool, bool] | None = None
        self._since = datetime.fromtimestamp(0, UTC)

    async def health(self, within: float, look: Callable[[], Sequence[QueueHealth]], ending: str) -> Health:
        """After at most ``within`` seconds; ``ending`` says that the broker is closed or being closed, and how."""
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
        """The time of day."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def when(self, moment: float) -> datetime:
        """The time of day at ``moment`` of the event loop's time."""
        return self.now() - timedelta(seconds=asyncio.get_running_loop().time() - moment)

    async def _ask(self, within: float) -> tuple[bool, str]:
        # One that takes longer goes on by itself: connecting may, and a question that is cancelled breaks connections.
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.get_running_loop().create_task(self._adapter.ping(), name="msgbus health")
            asking.add_done_callback(_seen)  # whoever asked may be gone
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
        """Ask no more. Never raises."""
        await cancel_and_wait(self._asking)


def _seen(asking: asyncio.Task[str]) -> None:
    if not asking.cancelled():
        asking.exception()
