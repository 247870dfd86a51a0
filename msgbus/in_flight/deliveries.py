"""In-flight deliveries: the sessions of a member, the deliveries of each, and the cut of a drain.

The cut drain: where acknowledging moves a watermark (deliveries have a position), a delivery that is finished *above*
one that was not started is delivered again. So a session that ends in good order

1. starts nothing above the cut, the highest position that was already started;
2. finishes everything at or below the cut;
3. gives back the rest.

Where deliveries have no position, it finishes what runs and gives back the rest. This module only decides; the worker
pool acts.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from msgbus.adapter.envelope import parse_number
from msgbus.adapter.headers import FAILING_MILLISECONDS, FIRST_FAILURE, FREE_TRIES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from msgbus.adapter.envelope import Delivery
    from msgbus.in_flight.flow_control import FlowController
    from msgbus.message import Message
    from msgbus.subscription import Subscription

__all__ = ["DONE", "QUEUED", "RUNNING", "DeliveryRunner", "DeliveryState", "InFlight", "Session"]


class DeliveryState(Enum):
    """State of an in-flight delivery."""

    WAITING = "not yet due"
    QUEUED = "not started"
    RUNNING = "in its callback"
    SUSPENDED = "failed, waits for its immediate retry"
    PAUSED = "failed, waits until its subscription goes on"
    FORWARDING = "its copy is being published"
    STALLED = "its copy could not be published yet"
    DONE = "finished, to be acknowledged"
    DROPPED = "given up: the next session gets it"


# The states that every message passes: looking a member up in its enumeration takes 0.1 µs.
QUEUED: Final = DeliveryState.QUEUED
RUNNING: Final = DeliveryState.RUNNING
DONE: Final = DeliveryState.DONE


class DeliveryRunner(Protocol):
    """What sessions and copies need of the worker pool that a delivery belongs to; the pool stands layers above."""

    subscription: Subscription

    @property
    def paused(self) -> bool:
        """Whether the subscription is paused: only a probe's messages are called."""
        ...

    def release_key(self, held: InFlight) -> None:
        """Free the ordering key of ``held`` and start what waits behind it."""

    def drain(self, held: InFlight) -> None:
        """End ``held`` of a paused subscription without its callback, so that nothing above it is repeated."""

    def expedite(self, held: InFlight) -> None:
        """Shorten the wait of ``held`` for its next try or its time, since its session drains."""

    def give_up(self, held: InFlight) -> None:
        """Leave ``held`` to the next session."""

    def abandon(self, held: InFlight) -> None:
        """Cancel the callback of ``held``, or give it up if it does not run: the time of the drain is over."""

    def fence(self, held: InFlight) -> None:
        """Make the outcome of ``held`` void: its session is lost."""


class InFlight:
    """One delivery from its arrival at a member until it is acknowledged or given up.

    The worker pool, the retry intake, the forwarder and the outage handling set ``state``; each delivery is with one of
    them at a time.
    """

    __slots__ = (
        "admitted",
        "delivery",
        "dropped",
        "failed_at",
        "flow",
        "free_since_received",
        "is_probe",
        "is_scheduled",
        "message",
        "ordering_key",
        "passed_over",
        "runner",
        "session",
        "state",
        "timer",
        "worker",
    )

    def __init__(self, delivery: Delivery, session: Session, runner: DeliveryRunner, flow: FlowController) -> None:
        """Create a delivery that ``runner`` runs. ``flow`` counts the in-flight deliveries of its queue."""
        self.delivery = delivery
        self.message = message = delivery.message
        """The message for the callback, with its current attempt."""
        self.ordering_key = message.key
        self.session = session
        self.runner = runner
        self.flow = flow
        self.is_scheduled = False
        """Whether it occupies its ordering key."""
        self.admitted = False
        """Whether it may run although its subscription is paused."""
        self.is_probe = False
        """Whether its current try is part of a probe."""
        self.failed_at: float | None = None
        """Cached result of ``failing_since()``; None while it has not failed in this member."""
        self.free_since_received = 0
        """Free tries since it was received."""
        self.state: DeliveryState = QUEUED
        self.dropped = False
        """Whether it was given up: ``state`` stays DROPPED."""
        self.passed_over = False
        """Whether it has ended without its callback: the scheduler skips it."""
        self.timer: asyncio.TimerHandle | None = None
        self.worker: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """Whether its outcome still counts: it is not given up, and its session is not over."""
        return not self.dropped and not self.session.over

    @property
    def never_ran(self) -> bool:
        """Whether its callback was not called yet, or only for free tries."""
        return self.message is self.delivery.message

    def mark_failed(self) -> Message:
        """Count the attempt that failed. Return the message as it was at that attempt."""
        message = self.message
        self.message = replace(message, attempt=message.attempt + 1)
        return message

    @property
    def free_tries(self) -> int:
        """Free tries, in any member."""
        return parse_number(self.message.system.get(FREE_TRIES, ""), 0) + self.free_since_received

    @property
    def failing_for(self) -> float:
        """Seconds for which it had failed when it was received, as far as its tries were free."""
        return parse_number(self.message.system.get(FAILING_MILLISECONDS, ""), 0) / 1000

    def failing_since(self, now: float) -> float:
        """Return since when it has failed, in seconds since 1970 by this member's clock; it fails ``now``.

        The time of free tries in other members counts, but not by their clocks.
        """
        if self.failed_at is None:
            self.failed_at = now - self.failing_for
        return self.failed_at

    def first_failure(self, now: float) -> float:
        """Return when it failed first, in any member and by that member's clock; it fails ``now``."""
        system = self.delivery.message.system
        recorded = parse_number(system.get(FIRST_FAILURE, ""), 0) / 1000
        return recorded if recorded and FREE_TRIES not in system else self.failing_since(now)

    def count_free_tries(self) -> None:
        """Count its free tries as attempts."""
        message = self.message
        system = MappingProxyType({name: text for name, text in message.system.items() if name != FREE_TRIES})
        self.message = replace(message, attempt=message.attempt + self.free_tries, system=system)
        self.free_since_received = 0

    def uncount(self) -> None:
        """Take back the attempts that were counted since it was received."""
        self.message = self.delivery.message

    def record_free_try(self) -> None:
        """Record a free try."""
        self.free_since_received += 1
        self.is_probe = self.admitted = False

    def pass_over(self) -> None:
        """Have the scheduler skip it when its turn comes: it ends without its callback."""
        self.passed_over = True
        self.is_scheduled = False

    def give_up(self) -> None:
        """Mark it as given up: the next session gets it."""
        self.state = DeliveryState.DROPPED
        self.dropped = self.passed_over = True


class Session:
    """State of one session of the member's consumer."""

    __slots__ = ("_empty", "draining", "highest_started", "id", "in_flight", "over")

    def __init__(self, id: Hashable) -> None:
        self.id = id
        self.in_flight: dict[InFlight, None] = {}
        """In-flight deliveries in order of arrival, which a drain keeps."""
        self.highest_started = -1
        self.draining = False
        self.over = False
        self._empty = asyncio.Event()

    def begin_drain(self) -> None:
        """Start no further deliveries: those received from now on are left to the next session."""
        self.draining = True

    def end(self) -> None:
        """Mark the session as over: none of its deliveries may be acknowledged any more."""
        self.over = True

    def add(self, held: InFlight) -> None:
        """Add ``held`` to the in-flight deliveries."""
        self.in_flight[held] = None

    def mark_started(self, held: InFlight) -> None:
        """Move the cut up to ``held``: its callback is called, or its copy is published."""
        position = held.delivery.position
        if position is not None and position > self.highest_started:
            self.highest_started = position

    def remove(self, held: InFlight) -> None:
        """Remove ``held``, which is finished or given up."""
        self.in_flight.pop(held, None)
        if not self.in_flight:
            self._empty.set()

    def beyond_cut(self) -> Iterator[InFlight]:
        """Yield deliveries that a drain gives up at once: unstarted ones above the cut, and those an outage stops."""
        lowest = self._lowest_cut()
        for held in list(self.in_flight):
            if held.runner.paused and held.state in {DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.PAUSED}:
                if not self._below(held, lowest):
                    yield held
                continue
            unstarted = held.state in {DeliveryState.QUEUED, DeliveryState.WAITING} and held.never_ran
            if held.state in {DeliveryState.STALLED, DeliveryState.PAUSED} or (unstarted and self._above(held)):
                yield held

    def in_state(self, stage: DeliveryState) -> list[InFlight]:
        """Return the in-flight deliveries in this state."""
        return [held for held in self.in_flight if held.state is stage]

    def _lowest_cut(self) -> int:
        """Return the highest position at or below the cut that has ended or can still end.

        While a subscription is paused, nothing is called to reach the cut. Deliveries above this position can be given
        up without a repetition; those below it must end.
        """
        waiting = {
            held.delivery.position
            for held in self.in_flight
            if held.runner.paused and held.state in {DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.PAUSED}
        }
        cut = self.highest_started
        while cut in waiting:
            cut -= 1
        return cut

    @staticmethod
    def _below(held: InFlight, cut: int) -> bool:
        position = held.delivery.position
        return position is not None and position < cut

    def _above(self, held: InFlight) -> bool:
        position = held.delivery.position
        return position is None or position > self.highest_started

    async def wait_until_empty(self) -> None:
        """Wait until the session has no in-flight deliveries."""
        self._empty.clear()
        if self.in_flight:
            await self._empty.wait()
