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

from msgbus.adapter.envelope import number
from msgbus.adapter.headers import FAILING, FIRST_FAILURE, FREE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from msgbus.adapter.envelope import Delivery
    from msgbus.in_flight.flow_control import Flow
    from msgbus.message import Message
    from msgbus.subscription import Subscription

__all__ = ["DONE", "QUEUED", "RUNNING", "Held", "Keeper", "Session", "Stage"]


class Stage(Enum):
    """Where a held delivery is."""

    WAITING = "not yet due"
    QUEUED = "not started"
    RUNNING = "in its callback"
    PARKED = "failed, waits for its next try in place"
    PAUSED = "failed, waits until its subscription goes on"
    SETTLING = "its copy is being published"
    STUCK = "its copy could not be published yet"
    DONE = "finished, to be acknowledged"
    DROPPED = "given up: the next session gets it"


# What every message passes; an enumeration takes 0.1 µs to find its own member.
QUEUED: Final = Stage.QUEUED
RUNNING: Final = Stage.RUNNING
DONE: Final = Stage.DONE


class Keeper(Protocol):
    """Who runs what is held of a subscription, and is told when it ends otherwise: its workers."""

    subscription: Subscription

    @property
    def paused(self) -> bool:
        """Whether the subscription is paused: only a probe's messages are called."""
        ...

    def forwarded(self, held: Held) -> None:
        """The copy of ``held`` is confirmed."""

    def drain(self, held: Held) -> None:
        """End ``held`` of a paused subscription without a call, so that nothing above it is repeated."""

    def hurry(self, held: Held) -> None:
        """A drain has begun: ``held`` need not wait for its next try, nor for its time."""

    def give_up(self, held: Held) -> None:
        """The next session gets ``held``."""

    def abandon(self, held: Held) -> None:
        """Its time is over: cancel its callback."""

    def fence(self, held: Held) -> None:
        """It is somebody else's now: its end counts for nothing."""


class Held:
    """One delivery in a member's hands."""

    __slots__ = (
        "admitted",
        "delivery",
        "dropped",
        "failed_at",
        "flow",
        "free",
        "in_lane",
        "lane",
        "message",
        "passed_over",
        "probe",
        "session",
        "stage",
        "timer",
        "worker",
        "workers",
    )

    def __init__(self, delivery: Delivery, session: Session, workers: Keeper, flow: Flow) -> None:
        """``workers`` run it; ``flow`` counts it, that of its own queue."""
        self.delivery = delivery
        self.message = message = delivery.message
        """With the attempt that it is at."""
        self.lane = message.key
        self.session = session
        self.workers = workers
        self.flow = flow
        self.in_lane = False
        """Its lane waits for it."""
        self.admitted = False
        """It may run although its subscription is paused."""
        self.probe = False
        """It was tried while its subscription was paused."""
        self.failed_at: float | None = None
        """See failing_since(); None while it has not failed here."""
        self.free = 0
        """Tries since it was received that failed during an outage and cost no attempt."""
        self.stage: Stage = QUEUED
        self.dropped = False
        """Given up: ``stage`` is DROPPED, and stays so."""
        self.passed_over = False
        """It has ended without a call: what is queued of it does not run."""
        self.timer: asyncio.TimerHandle | None = None
        self.worker: asyncio.Task[None] | None = None

    @property
    def current(self) -> bool:
        """Whether its end still counts: not given up, and its session not over."""
        return not self.dropped and not self.session.over

    @property
    def untried(self) -> bool:
        """Its callback was not called, or not so that it counts."""
        return self.message is self.delivery.message

    def failed(self) -> Message:
        """The message as it failed; it is one attempt further."""
        message = self.message
        self.message = replace(message, attempt=message.attempt + 1)
        return message

    @property
    def free_tries(self) -> int:
        """How many of its tries cost no attempt, in any member."""
        return number(self.message.system.get(FREE, ""), 0) + self.free

    @property
    def failing_for(self) -> float:
        """For how many seconds it had failed when it was received, where its tries were free."""
        return number(self.message.system.get(FAILING, ""), 0) / 1000

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
        told = number(system.get(FIRST_FAILURE, ""), 0) / 1000
        return told if told and FREE not in system else self.failing_since(now)

    def count_free_tries(self) -> None:
        """Count the tries that were free as attempts."""
        message = self.message
        system = MappingProxyType({name: text for name, text in message.system.items() if name != FREE})
        self.message = replace(message, attempt=message.attempt + self.free_tries, system=system)
        self.free = 0

    def uncount(self) -> None:
        """Take back the attempts that were counted since it was received."""
        self.message = self.delivery.message

    def free_try(self) -> None:
        """Note a try that costs no attempt."""
        self.free += 1
        self.probe = self.admitted = False

    def drop(self) -> None:
        """Give it up."""
        self.stage = Stage.DROPPED
        self.dropped = self.passed_over = True


class Session:
    """The core's record of a session."""

    __slots__ = ("_empty", "draining", "held", "high", "id", "over")

    def __init__(self, id: Hashable) -> None:
        self.id = id
        self.held: dict[Held, None] = {}
        """In the order in which it came, which a drain keeps."""
        self.high = -1
        self.draining = False
        self.over = False
        self._empty = asyncio.Event()

    def hold(self, held: Held) -> None:
        """``held`` belongs to it."""
        self.held[held] = None

    def started(self, held: Held) -> None:
        """Its callback is called, or its copy is published: the cut moves up."""
        position = held.delivery.position
        if position is not None and position > self.high:
            self.high = position

    def release(self, held: Held) -> None:
        """``held`` is finished or given up."""
        self.held.pop(held, None)
        if not self.held:
            self._empty.set()

    def beyond_cut(self) -> Iterator[Held]:
        """What a drain gives up at once: what has not started above the cut, and what waits for others."""
        lowest = self._lowest_cut()
        for held in list(self.held):
            if held.workers.paused and held.stage in {Stage.QUEUED, Stage.WAITING, Stage.PAUSED}:
                if not self._below(held, lowest):
                    yield held
                continue
            unstarted = held.stage in {Stage.QUEUED, Stage.WAITING} and held.untried
            if held.stage in {Stage.STUCK, Stage.PAUSED} or (unstarted and self._above(held)):
                yield held

    def at(self, stage: Stage) -> list[Held]:
        """What is held at ``stage``."""
        return [held for held in self.held if held.stage is stage]

    def _lowest_cut(self) -> int:
        """Return the highest position that has ended, or may end yet.

        While a subscription is paused nothing is called up to the cut. What lies above this position can be given up
        and repeats nothing; what lies below it must end.
        """
        waiting = {
            held.delivery.position
            for held in self.held
            if held.workers.paused and held.stage in {Stage.QUEUED, Stage.WAITING, Stage.PAUSED}
        }
        cut = self.high
        while cut in waiting:
            cut -= 1
        return cut

    @staticmethod
    def _below(held: Held, cut: int) -> bool:
        position = held.delivery.position
        return position is not None and position < cut

    def _above(self, held: Held) -> bool:
        position = held.delivery.position
        return position is None or position > self.high

    async def empty(self) -> None:
        """Wait until nothing of it is held."""
        self._empty.clear()
        if self.held:
            await self._empty.wait()
