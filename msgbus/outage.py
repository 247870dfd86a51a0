"""What a subscription does while everything fails: it pauses, tries one message now and then, and goes on.

An outage costs no attempt. What fails while it lasts waits in hand; a probe that fails goes to the shortest retry queue
with its attempts as they were, so that each probe is a different message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from msgbus.breaker import Breaker
from msgbus.copies import parked
from msgbus.ladder import SHORTEST, STEPS
from msgbus.message import ATTEMPTS
from msgbus.retry import is_outage
from msgbus.sessions import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.flow import Flow
    from msgbus.lanes import Lanes
    from msgbus.message import Outgoing
    from msgbus.sessions import Held
    from msgbus.subscription import Subscription

__all__ = ["Outage"]

logger = logging.getLogger("msgbus")


class Pausable(Protocol):
    """The workers of the subscription."""

    subscription: Subscription
    flow: Flow
    lanes: Lanes[Held]
    clock: Callable[[], float]

    def start(self) -> None:
        """Set tasks to work on what may run."""

    def again(self, held: Held) -> None:
        """Run ``held``, which failed, before what has not started."""

    def forward(self, held: Held, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then acknowledge ``held``."""

    def give_up(self, held: Held) -> None:
        """The next session gets ``held``."""

    def changed(self) -> None:
        """There may be room that there was not."""


class Outage:
    """The breaker of one subscription, and what follows from it."""

    def __init__(self, workers: Pausable, random: Random) -> None:
        policy = workers.subscription.policy
        self._workers = workers
        self._random = random
        self.on = False
        """The subscription is paused: what runs now is a probe, or began before."""
        self.failing = False
        """Something has failed since a callback last returned."""
        self._breaker = Breaker(policy.pause_after, policy.probes)
        self._waiting: deque[Held] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def takes(self, held: Held, error: BaseException) -> bool:
        """Whether the failure of ``held`` is the outage's, which has then dealt with it, and not its own."""
        if not is_outage(error):
            return False
        self.failing = True
        if self._breaker.failed():
            self.on = True
            self._begin(error)
        if self.on:
            self._suspend(held)
        return self.on

    def succeeded(self) -> None:
        """A callback returned; to be told while ``failing``."""
        self.failing = False
        if self._breaker.succeeded():
            self.on = False
            self._end()

    def stop(self) -> None:
        """No probe is due any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, error: BaseException) -> None:
        subscription = self._workers.subscription
        reason = f"since every message fails; one is tried now and then ({type(error).__name__}: {error})"
        logger.error("queue %s, group %s: paused, %s", subscription.address, subscription.group, reason)
        subscription.paused(reason)
        self._workers.lanes.tickets = 0
        self._workers.flow.paused = True
        self._next_probe()

    def _suspend(self, held: Held) -> None:
        message = held.message
        if held.session.draining:
            self._workers.give_up(held)
        elif held.probe:
            counted = {ATTEMPTS: str(message.attempt - 1)}
            self._workers.forward(held, parked(message, STEPS[SHORTEST], self._workers.clock(), counted))
        else:
            held.stage = Stage.PAUSED
            self._waiting.append(held)

    def _next_probe(self) -> None:
        self._timer = self._loop.call_later(self._breaker.next_probe(self._random.random()), self._probe)

    def _probe(self) -> None:
        if not self.on:
            return
        self._workers.lanes.tickets = 1
        while self._waiting:
            held = self._waiting.popleft()
            if held.stage is Stage.PAUSED:
                self._workers.again(held)
                break
        else:
            self._workers.flow.paused = bool(self._workers.lanes.waiting)  # empty hands: receive one to try
            self._workers.start()
            self._workers.changed()
        self._next_probe()

    def _end(self) -> None:
        subscription = self._workers.subscription
        logger.info("queue %s, group %s: goes on", subscription.address, subscription.group)
        self.stop()
        subscription.paused("")
        self._workers.lanes.tickets = None
        self._workers.flow.paused = False
        for held in self._waiting:
            if held.stage is Stage.PAUSED:
                held.stage = Stage.QUEUED
                self._workers.lanes.resume(held)
        self._waiting.clear()
        self._workers.start()
        self._workers.changed()
