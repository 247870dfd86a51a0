"""The callbacks of one subscription at work: one task per busy place, none per message."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol, cast

from msgbus.adapter.headers import NOT_BEFORE
from msgbus.failure.copies import Failure, asked, dead, failed, parked, rest
from msgbus.failure.outage import Outage
from msgbus.in_flight.deliveries import DONE, QUEUED, RUNNING, Held, Stage
from msgbus.in_flight.flow_control import Flow
from msgbus.in_flight.key_scheduler import Lanes
from msgbus.retry import DeadLetter, RetryLater, TryAgain, decide
from msgbus.subscription import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.in_flight.deliveries import Session
    from msgbus.message import Message
    from msgbus.retry import Outcome
    from msgbus.subscription import Owner, Subscription

__all__ = ["Settler", "Workers"]

logger = logging.getLogger("msgbus")

CROWD: Final = 100
"""Messages that may wait for a try in place, in any case; else half of what may be held. The others wait in a retry
queue at once: 5,000 bad messages in front of good ones would hold these up for 1.5 s, 1,000 at a time for 0.3 s."""


class Settler(Protocol):
    """Who ends what the workers are done with: publish first, acknowledge last."""

    def done(self, held: Held) -> None:
        """Acknowledge ``held``."""

    def forward(self, held: Held, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then call ``held.workers.forwarded(held)``."""


class Workers:
    """Runs what is held of one subscription, by its lanes, and decides how each delivery ends."""

    def __init__(
        self,
        subscription: Subscription,
        owner: Owner,
        settler: Settler,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self.subscription = subscription
        self.flow = Flow(subscription.concurrency)
        self.lanes: Lanes[Held] = Lanes(subscription.concurrency)
        self.tasks: set[asyncio.Task[None]] = set()
        self.in_place: set[Held] = set()
        """Messages that failed and wait for a try in place."""
        self.clock = clock
        self._owner = owner
        self._settler = settler
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._name = f"msgbus {subscription.address}"
        self.outage = Outage(self, random)

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Take ``delivery`` of the queue itself in hand; start() sets it going."""
        held = Held(delivery, session, self, self.flow)
        session.hold(held)
        self.flow.held += 1
        message = delivery.message
        if NOT_BEFORE in message.system and (left := asked(message, now := self.clock())) > 0:
            self.forward(held, parked(message, left, now))
        else:
            self._queue(held)

    def enqueue(self, held: Held) -> None:
        """Run ``held``, which waited in a retry queue and is due: a pause changes nothing of its schedule.

        Unless it failed for what the pause is about.
        """
        if not self.outage.accept_due(held):
            held.admitted = True
            self.run(held)

    @property
    def paused(self) -> bool:
        """Whether the subscription is paused."""
        return self.outage.on

    @property
    def cancelled(self) -> bool:
        """Its subscription was cancelled; what still comes is the next session's."""
        return self.subscription.state == "cancelled"

    def asked(self) -> int:
        """Room for the next receive()."""
        room = self.flow.asked()
        return min(room, self.outage.wanted()) if self.outage.on else room

    def start(self) -> None:
        """Set tasks to work on what may run."""
        for _ in range(min(self.lanes.waiting, self.lanes.concurrency - len(self.tasks))):
            task = self._loop.create_task(self._work(), name=self._name)
            self.tasks.add(task)

    def forward(self, held: Held, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then acknowledge ``held``: its end is under way, and the cut moves up as for a call."""
        held.session.started(held)
        self._settler.forward(held, outgoing)

    def forwarded(self, held: Held) -> None:
        """The copy of ``held`` is confirmed."""
        self._finish(held)
        self._leave_lane(held)

    def again(self, held: Held) -> None:
        """Try ``held``, which failed, once more in place."""
        self.in_place.discard(held)
        held.admitted = True
        self.run(held)

    def run(self, held: Held) -> None:
        """Queue ``held`` for its callback; where its lane waits for it, before what has not started."""
        held.timer = None
        held.stage = QUEUED
        if held.in_lane:
            self.lanes.resume(held)
        else:
            self._queue(held)
        self.start()

    def wait_no_longer(self, held: Held) -> None:
        """Cancel the try in place that ``held`` waits for."""
        self.in_place.discard(held)
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    # A drain, and other ends that are nobody's doing.

    def hurry(self, held: Held) -> None:
        """A drain has begun: ``held`` need not wait for its next try, nor for its time."""
        if held.timer is not None:
            held.timer.cancel()
        if held.stage is Stage.WAITING and held.timer is not None:
            # By the timer: the clock of whoever sent it here may be hours off ours.
            left = max(held.timer.when() - self._loop.time(), 0.0) + rest(held.delivery.message)
            self.forward(held, parked(held.delivery.message, left, self.clock()))
        elif held.stage is Stage.PARKED:
            self.again(held)

    def drain(self, held: Held) -> None:
        """End ``held`` without a call, since the subscription is paused and its session drains."""
        self.outage.drain(held)

    def give_up(self, held: Held) -> None:
        """The next session gets ``held``, and what is behind it in its lane: nothing overtakes it."""
        first = held.in_lane and held.stage is not Stage.QUEUED
        self._drop(held)
        for behind in list(self.lanes.behind(held.lane)) if first else ():
            if behind.session is held.session and not behind.dropped:
                self._drop(behind)
        self._leave_lane(held)

    def abandon(self, held: Held) -> None:
        """Its time is over: cancel the callback of a running one, give up another."""
        if held.stage is not Stage.RUNNING:
            self.give_up(held)
            return
        self._drop(held)
        if held.worker is not None:
            held.worker.cancel()

    def fence(self, held: Held) -> None:
        """It is somebody else's now: one that runs may end, but its end counts for nothing.

        What is behind it in its lane is still ours, and goes on. One that has ended meanwhile stays ended: the
        answer that it is no longer ours may only say that it was acknowledged.
        """
        if held.stage in {Stage.DONE, Stage.DROPPED}:
            return
        running = held.stage is Stage.RUNNING
        self._drop(held)
        if not running:
            self._leave_lane(held)

    def stop(self) -> None:
        """No probe is due any more."""
        self.outage.stop()

    def changed(self) -> None:
        """There may be room that there was not."""
        self._owner.changed()

    def reopen(self) -> None:
        """End the sessions of the queue and begin new ones: what has not started goes back."""
        self._owner.reopen(self.subscription)

    def _drop(self, held: Held) -> None:
        self.wait_no_longer(held)
        # A queued one keeps its place in its lane, and is passed over when its turn comes.
        held.in_lane &= held.stage is not Stage.QUEUED
        held.drop()
        held.session.release(held)
        held.flow.held -= 1

    def _leave_lane(self, held: Held) -> None:
        if held.in_lane:
            held.in_lane = False
            self.lanes.leave(held)
            self.start()

    # Work.

    def _queue(self, held: Held) -> None:
        held.in_lane = True
        self.lanes.add(held)

    async def _work(self) -> None:
        inside.set(self._owner)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        callback, flow, now = self.subscription.callback, self.flow, self._loop.time
        error: BaseException | None = None
        began = now()
        try:
            while (held := self.lanes.take()) is not None:
                held.stage = RUNNING
                held.worker = task
                held.session.started(held)
                try:
                    await callback(held.message)
                except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - whatever it is, it is the message's failure
                    error = raised
                ended = now()
                if error is None:
                    self.outage.succeeded_at = ended
                flow.worked(ended - began)
                began = ended  # of the next one: what lies between is a few µs
                held.worker = None
                while task.cancelling():  # swallowed by the callback or not: the task goes on with the next message
                    task.uncancel()
                self._ended(held, error)
                error = None  # its traceback leads here: neither would be gone before the next collection
        finally:
            # Here and not in a callback of the task: what is accepted in between would find no worker, for ever.
            self.tasks.discard(task)
        # Full hands and an idle place: others must not wait with what waits for its lane.
        if self.lanes.blocked and not self.outage.on and not self.flow.room and self.flow.widen():
            self._owner.changed()

    def _ended(self, held: Held, error: BaseException | None) -> None:
        if not held.current:
            self.subscription.counts.fenced += 1
            held.in_lane = False
            self.lanes.finish(held)
        elif error is None:
            self.subscription.counts.handled += 1
            self._finish(held)
            held.in_lane = False
            self.lanes.finish(held)
            if self.outage.failing:
                self.outage.succeeded()
        else:
            self.lanes.park()  # its place is free, its lane is not
            self._failed(held, error)

    def _finish(self, held: Held) -> None:
        held.stage = DONE
        self._settler.done(held)
        held.session.release(held)

    # Failures.

    def _failed(self, held: Held, error: BaseException) -> None:
        if self.outage.takes(held, error):
            return
        now = self.clock()
        failure = Failure(error, now, held.failing_since(now))
        message = held.failed()
        self.subscription.counts.failed += 1
        policy = self.subscription.policy
        outcome = decide(error, message, policy, now, self._random.random())
        if isinstance(outcome, TryAgain):
            if held.session.draining and not policy.delays:  # the policy keeps order
                self.give_up(held)
                return
            if policy.delays and (held.session.draining or self._crowded):
                outcome = RetryLater(policy.delays[0])
        self._settle(held, message, failure, outcome)

    @property
    def _crowded(self) -> bool:
        """Whether so many messages wait for a try in place that good ones behind them would have to wait."""
        return len(self.in_place) >= max(CROWD, self.flow.limit // 2)

    def _settle(self, held: Held, message: Message, failure: Failure, outcome: Outcome) -> None:
        _report(message, failure.error, outcome, first=message is held.delivery.message)
        if isinstance(outcome, TryAgain):
            held.stage = Stage.PARKED
            self.in_place.add(held)
            held.timer = self._loop.call_later(outcome.after, self.again, held)
        elif isinstance(outcome, RetryLater):
            self.subscription.counts.retried += 1
            self.forward(held, parked(message, outcome.after, failure.at, failed(message, failure)))
        elif isinstance(outcome, DeadLetter):
            self.subscription.counts.dead_lettered += 1
            letter = self._random.randbytes(16).hex()
            trace = self.subscription.policy.traceback
            self.forward(held, dead(message, failure, outcome.reason, letter, with_traceback=trace))


def _report(message: Message, error: BaseException, outcome: Outcome, *, first: bool) -> None:
    logger.warning(
        "queue %s, group %s: message %s failed at attempt %d (%s: %s), %s",
        message.queue,
        message.group,
        message.id,
        message.attempt,
        type(error).__name__,
        error,
        _plan(outcome),
        exc_info=error if first else None,
    )


def _plan(outcome: Outcome) -> str:
    if isinstance(outcome, DeadLetter):
        return f"dead-lettered: {outcome.reason}"
    return f"trying again in {outcome.after:.1f} s" if isinstance(outcome, TryAgain | RetryLater) else "done"
