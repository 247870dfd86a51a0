"""The callbacks of one subscription at work: one task per busy place, none per message."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol, cast

from msgbus.adapter.headers import NOT_BEFORE
from msgbus.failure.copies import Failure, dead_letter_copy, failure_headers, initial_delay, remaining_delay, retry_copy
from msgbus.failure.outage import Outage
from msgbus.in_flight.deliveries import DONE, QUEUED, RUNNING, DeliveryState, InFlight
from msgbus.in_flight.flow_control import FlowController
from msgbus.in_flight.key_scheduler import KeyScheduler
from msgbus.retry import GiveUp, RetryImmediately, RetryLater, decide
from msgbus.subscription import running_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.in_flight.deliveries import Session
    from msgbus.message import Message
    from msgbus.retry import Outcome
    from msgbus.subscription import Subscription, SubscriptionOwner

__all__ = ["OutcomeSink", "WorkerPool"]

logger = logging.getLogger("msgbus")

MIN_MANY_RETRIES: Final = 100
"""Messages that may wait for a try in place, in any case; else half of what may be held. The others wait in a retry
queue at once: 5,000 bad messages in front of good ones would hold these up for 1.5 s, 1,000 at a time for 0.3 s."""


class OutcomeSink(Protocol):
    """Who ends what the workers are done with: publish first, acknowledge last."""

    def acknowledge(self, held: InFlight) -> None:
        """Acknowledge ``held``."""

    def publish_copy(self, held: InFlight, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then call ``held.workers.copy_confirmed(held)``."""


class WorkerPool:
    """Runs what is held of one subscription, by its lanes, and decides how each delivery ends."""

    def __init__(
        self,
        subscription: Subscription,
        owner: SubscriptionOwner,
        settler: OutcomeSink,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self.subscription = subscription
        self.flow = FlowController(subscription.concurrency)
        self.scheduler: KeyScheduler[InFlight] = KeyScheduler(subscription.concurrency)
        self.tasks: set[asyncio.Task[None]] = set()
        self.immediate_retries: set[InFlight] = set()
        """Messages that failed and wait for a try in place."""
        self.clock = clock
        self._owner = owner
        self._outcomes = settler
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._name = f"msgbus {subscription.address}"
        self.outage = Outage(self, random)

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Take ``delivery`` of the queue itself in hand; start() sets it going."""
        held = InFlight(delivery, session, self, self.flow)
        session.add(held)
        self.flow.in_flight += 1
        message = delivery.message
        if NOT_BEFORE in message.system and (left := initial_delay(message, now := self.clock())) > 0:
            self.forward(held, retry_copy(message, left, now))
        else:
            self._queue(held)

    def enqueue(self, held: InFlight) -> None:
        """Run ``held``, which waited in a retry queue and is due: a pause changes nothing of its schedule.

        Unless it failed for what the pause is about.
        """
        if not self.outage.accept_due(held):
            held.admitted = True
            self.run(held)

    @property
    def paused(self) -> bool:
        """Whether the subscription is paused."""
        return self.outage.paused

    @property
    def cancelled(self) -> bool:
        """Its subscription was cancelled; what still comes is the next session's."""
        return self.subscription.state == "cancelled"

    def demand(self) -> int:
        """Room for the next receive()."""
        room = self.flow.demand()
        return min(room, self.outage.demand()) if self.outage.paused else room

    def start(self) -> None:
        """Set tasks to work on what may run."""
        for _ in range(min(self.scheduler.waiting, self.scheduler.concurrency - len(self.tasks))):
            task = self._loop.create_task(self._work(), name=self._name)
            self.tasks.add(task)

    def forward(self, held: InFlight, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then acknowledge ``held``: its end is under way, and the cut moves up as for a call."""
        held.session.mark_started(held)
        self._outcomes.publish_copy(held, outgoing)

    def copy_confirmed(self, held: InFlight) -> None:
        """The copy of ``held`` is confirmed."""
        self._finish(held)
        self._release_key(held)

    def run_again(self, held: InFlight) -> None:
        """Try ``held``, which failed, once more in place."""
        self.immediate_retries.discard(held)
        held.admitted = True
        self.run(held)

    def run(self, held: InFlight) -> None:
        """Queue ``held`` for its callback; where its lane waits for it, before what has not started."""
        held.timer = None
        held.state = QUEUED
        if held.is_scheduled:
            self.scheduler.resume(held)
        else:
            self._queue(held)
        self.start()

    def cancel_immediate_retry(self, held: InFlight) -> None:
        """Cancel the try in place that ``held`` waits for."""
        self.immediate_retries.discard(held)
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    # A drain, and other ends that are nobody's doing.

    def expedite(self, held: InFlight) -> None:
        """A drain has begun: ``held`` need not wait for its next try, nor for its time."""
        if held.timer is not None:
            held.timer.cancel()
        if held.state is DeliveryState.WAITING and held.timer is not None:
            # By the timer: the clock of whoever sent it here may be hours off ours.
            left = max(held.timer.when() - self._loop.time(), 0.0) + remaining_delay(held.delivery.message)
            self.forward(held, retry_copy(held.delivery.message, left, self.clock()))
        elif held.state is DeliveryState.SUSPENDED:
            self.run_again(held)

    def drain(self, held: InFlight) -> None:
        """End ``held`` without a call, since the subscription is paused and its session drains."""
        self.outage.drain(held)

    def give_up(self, held: InFlight) -> None:
        """The next session gets ``held``, and what is behind it in its lane: nothing overtakes it."""
        first = held.is_scheduled and held.state is not DeliveryState.QUEUED
        self._drop(held)
        for behind in list(self.scheduler.queued_behind(held.ordering_key)) if first else ():
            if behind.session is held.session and not behind.dropped:
                self._drop(behind)
        self._release_key(held)

    def abandon(self, held: InFlight) -> None:
        """Its time is over: cancel the callback of a running one, give up another."""
        if held.state is not DeliveryState.RUNNING:
            self.give_up(held)
            return
        self._drop(held)
        if held.worker is not None:
            held.worker.cancel()

    def fence(self, held: InFlight) -> None:
        """It is somebody else's now: one that runs may end, but its end counts for nothing.

        What is behind it in its lane is still ours, and goes on. One that has ended meanwhile stays ended: the
        answer that it is no longer ours may only say that it was acknowledged.
        """
        if held.state in {DeliveryState.DONE, DeliveryState.DROPPED}:
            return
        running = held.state is DeliveryState.RUNNING
        self._drop(held)
        if not running:
            self._release_key(held)

    def cancel_probes(self) -> None:
        """No probe is due any more."""
        self.outage.cancel_probes()

    def capacity_changed(self) -> None:
        """There may be room that there was not."""
        self._owner.subscriptions_changed()

    def reopen(self) -> None:
        """End the sessions of the queue and begin new ones: what has not started goes back."""
        self._owner.reopen(self.subscription)

    def _drop(self, held: InFlight) -> None:
        self.cancel_immediate_retry(held)
        # A queued one keeps its place in its lane, and is passed over when its turn comes.
        held.is_scheduled &= held.state is not DeliveryState.QUEUED
        held.give_up()
        held.session.remove(held)
        held.flow.in_flight -= 1

    def _release_key(self, held: InFlight) -> None:
        if held.is_scheduled:
            held.is_scheduled = False
            self.scheduler.release(held)
            self.start()

    # Work.

    def _queue(self, held: InFlight) -> None:
        held.is_scheduled = True
        self.scheduler.add(held)

    async def _work(self) -> None:
        running_member.set(self._owner)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        callback, flow, now = self.subscription.callback, self.flow, self._loop.time
        error: BaseException | None = None
        began = now()
        try:
            while (held := self.scheduler.next_item()) is not None:
                held.state = RUNNING
                held.worker = task
                held.session.mark_started(held)
                try:
                    await callback(held.message)
                except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - whatever it is, it is the message's failure
                    error = raised
                ended = now()
                if error is None:
                    self.outage.succeeded_at = ended
                flow.record_duration(ended - began)
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
        if self.scheduler.blocked and not self.outage.paused and not self.flow.capacity and self.flow.grow():
            self._owner.subscriptions_changed()

    def _ended(self, held: InFlight, error: BaseException | None) -> None:
        if not held.is_current:
            self.subscription.counts.fenced += 1
            held.is_scheduled = False
            self.scheduler.finish(held)
        elif error is None:
            self.subscription.counts.handled += 1
            self._finish(held)
            held.is_scheduled = False
            self.scheduler.finish(held)
            if self.outage.failing:
                self.outage.record_success()
        else:
            self.scheduler.suspend()  # its place is free, its lane is not
            self._failed(held, error)

    def _finish(self, held: InFlight) -> None:
        held.state = DONE
        self._outcomes.acknowledge(held)
        held.session.remove(held)

    # Failures.

    def _failed(self, held: InFlight, error: BaseException) -> None:
        if self.outage.handle_failure(held, error):
            return
        now = self.clock()
        failure = Failure(error, now, held.failing_since(now))
        message = held.mark_failed()
        self.subscription.counts.failed += 1
        policy = self.subscription.policy
        outcome = decide(error, message, policy, now, self._random.random())
        if isinstance(outcome, RetryImmediately):
            if held.session.draining and not policy.delays:  # the policy keeps order
                self.give_up(held)
                return
            if policy.delays and (held.session.draining or self._has_many_retries):
                outcome = RetryLater(policy.delays[0])
        self._carry_out(held, message, failure, outcome)

    @property
    def _has_many_retries(self) -> bool:
        """Whether so many messages wait for a try in place that good ones behind them would have to wait."""
        return len(self.immediate_retries) >= max(MIN_MANY_RETRIES, self.flow.limit // 2)

    def _carry_out(self, held: InFlight, message: Message, failure: Failure, outcome: Outcome) -> None:
        _report(message, failure.error, outcome, first=message is held.delivery.message)
        if isinstance(outcome, RetryImmediately):
            held.state = DeliveryState.SUSPENDED
            self.immediate_retries.add(held)
            held.timer = self._loop.call_later(outcome.after, self.run_again, held)
        elif isinstance(outcome, RetryLater):
            self.subscription.counts.retried += 1
            self.forward(held, retry_copy(message, outcome.after, failure.at, failure_headers(message, failure)))
        elif isinstance(outcome, GiveUp):
            self.subscription.counts.dead_lettered += 1
            letter = self._random.randbytes(16).hex()
            trace = self.subscription.policy.traceback
            self.forward(held, dead_letter_copy(message, failure, outcome.reason, letter, with_traceback=trace))


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
    if isinstance(outcome, GiveUp):
        return f"dead-lettered: {outcome.reason}"
    return f"trying again in {outcome.after:.1f} s" if isinstance(outcome, RetryImmediately | RetryLater) else "done"
