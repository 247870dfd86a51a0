"""What a member holds: its sessions, the deliveries of each, and the cut of a drain. It decides, others act.

The cut drain: where acknowledging moves a watermark (deliveries have a position), what is finished *above* something
that was not started comes back as a duplicate. So a session that ends in good order starts nothing above the highest
position already started, and finishes everything at or below it. Elsewhere it finishes what runs and gives back the
rest.
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
    """Where a held delivery is."""

    WAITING = "not yet due"
    QUEUED = "not started"
    RUNNING = "in its callback"
    SUSPENDED = "failed, waits for its next try in place"
    PAUSED = "failed, waits until its subscription goes on"
    FORWARDING = "its copy is being published"
    STALLED = "its copy could not be published yet"
    DONE = "finished, to be acknowledged"
    DROPPED = "given up: the next session gets it"


# What every message passes; an enumeration takes 0.1 µs to find its own member.
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
    """One delivery in a member's hands."""

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

    def __init__(self, delivery: Delivery, session: Session, workers: DeliveryRunner, flow: FlowController) -> None:
        """``workers`` run it; ``flow`` counts it, that of its own queue."""
        self.delivery = delivery
        self.message = message = delivery.message
        """With the attempt that it is at."""
        self.ordering_key = message.key
        self.session = session
        self.runner = workers
        self.flow = flow
        self.is_scheduled = False
        """Its lane waits for it."""
        self.admitted = False
        """It may run although its subscription is paused."""
        self.is_probe = False
        """It was tried while its subscription was paused."""
        self.failed_at: float | None = None
        """See failing_since(); None while it has not failed here."""
        self.free_since_received = 0
        """Tries since it was received that failed during an outage and cost no attempt."""
        self.state: DeliveryState = QUEUED
        self.dropped = False
        """Given up: ``state`` is DROPPED, and stays so."""
        self.passed_over = False
        """It has ended without a call: what is queued of it does not run."""
        self.timer: asyncio.TimerHandle | None = None
        self.worker: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """Whether its end still counts: not given up, and its session not over."""
        return not self.dropped and not self.session.over

    @property
    def never_ran(self) -> bool:
        """Its callback was not called, or not so that it counts."""
        return self.message is self.delivery.message

    def mark_failed(self) -> Message:
        """The message as it failed; it is one attempt further."""
        message = self.message
        self.message = replace(message, attempt=message.attempt + 1)
        return message

    @property
    def free_tries(self) -> int:
        """How many of its tries cost no attempt, in any member."""
        return parse_number(self.message.system.get(FREE_TRIES, ""), 0) + self.free_since_received

    @property
    def failing_for(self) -> float:
        """For how many seconds it had failed when it was received, where its tries were free."""
        return parse_number(self.message.system.get(FAILING_MILLISECONDS, ""), 0) / 1000

    def failing_since(self, now: float) -> float:
        """Return since when it has failed, in seconds since 1970 by this member's clock; it has failed ``now``.

        What it failed in other members counts where its tries were free, and not by their clocks.
        """
        if self.failed_at is None:
            self.failed_at = now - self.failing_for
        return self.failed_at

    def first_failure(self, now: float) -> float:
        """Return when it failed first, in any member and by its clock; it has failed ``now``."""
        system = self.delivery.message.system
        told = parse_number(system.get(FIRST_FAILURE, ""), 0) / 1000
        return told if told and FREE_TRIES not in system else self.failing_since(now)

    def count_free_tries(self) -> None:
        """Count the tries that were free as attempts."""
        message = self.message
        system = MappingProxyType({name: text for name, text in message.system.items() if name != FREE_TRIES})
        self.message = replace(message, attempt=message.attempt + self.free_tries, system=system)
        self.free_since_received = 0

    def uncount(self) -> None:
        """Take back the attempts that were counted since it was received."""
        self.message = self.delivery.message

    def record_free_try(self) -> None:
        """Note a try that costs no attempt."""
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
    """The core's record of a session."""

    __slots__ = ("_empty", "draining", "highest_started", "id", "in_flight", "over")

    def __init__(self, id: Hashable) -> None:
        self.id = id
        self.in_flight: dict[InFlight, None] = {}
        """In the order in which it came, which a drain keeps."""
        self.highest_started = -1
        self.draining = False
        self.over = False
        self._empty = asyncio.Event()

    def begin_drain(self) -> None:
        """Take nothing more: what is received from now on is left to the next session."""
        self.draining = True

    def end(self) -> None:
        """Mark the session as over: nothing of it may be acknowledged any more."""
        self.over = True

    def add(self, held: InFlight) -> None:
        """Add ``held`` to the in-flight deliveries."""
        self.in_flight[held] = None

    def mark_started(self, held: InFlight) -> None:
        """Its callback is called, or its copy is published: the cut moves up."""
        position = held.delivery.position
        if position is not None and position > self.highest_started:
            self.highest_started = position

    def remove(self, held: InFlight) -> None:
        """``held`` is finished or given up."""
        self.in_flight.pop(held, None)
        if not self.in_flight:
            self._empty.set()

    def beyond_cut(self) -> Iterator[InFlight]:
        """What a drain gives up at once: what has not started above the cut, and what waits for others."""
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
        """What is held at ``state``."""
        return [held for held in self.in_flight if held.state is stage]

    def _lowest_cut(self) -> int:
        """Return the highest position that has ended, or may end yet.

        While a subscription is paused nothing is called up to the cut. What lies above this position can be given up
        and repeats nothing; what lies below it must end.
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
        """Wait until nothing of it is held."""
        self._empty.clear()
        if self.in_flight:
            await self._empty.wait()
