"""Worker pool of one subscription: runs its callback, and decides how each delivery ends.

There is one task per busy worker, none per message; the key scheduler says what may run::

    accept() ─▶ KeyScheduler ─▶ worker task ─▶ callback ─┬▶ returned ─▶ OutcomeSink.finish()
                    ▲                                    └▶ failed ─▶ Outage ─▶ decide()
                    │                                                              │
                    └─────── immediate retry, after its backoff ◀──────────────────┤
                             delayed retry or dead letter ◀────────────────────────┘ OutcomeSink.carry_out()
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from msgbus.adapter.headers import NOT_BEFORE
from msgbus.failure.copies import Failure, initial_delay, remaining_delay, retry_copy
from msgbus.failure.guarded_backoff import MAX_BACKOFF_SECONDS, GuardedBackoff
from msgbus.failure.outage import Outage
from msgbus.in_flight.deliveries import QUEUED, RUNNING, DeliveryState, InFlight
from msgbus.in_flight.flow_control import FlowController
from msgbus.in_flight.key_scheduler import KeyScheduler
from msgbus.retry import DEFAULT_BACKOFF, GiveUp, RetryImmediately, RetryLater, decide
from msgbus.subscription import running_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.outcome_sink import OutcomeSink
    from msgbus.in_flight.deliveries import Session
    from msgbus.message import Message
    from msgbus.retry import Outcome
    from msgbus.subscription import Subscription, SubscriptionOwner

__all__ = ["WorkerPool"]

logger = logging.getLogger("msgbus")

MIN_MANY_RETRIES: Final = 100
"""Messages that may always wait for an immediate retry; beyond that, half of the flow limit. Further ones wait in a
retry queue. Measured: 5,000 bad messages in front of good ones delay these by 1.5 s, 1,000 at a time by 0.3 s."""


class WorkerPool:
    """Runs the in-flight deliveries of one subscription in the order of their keys, and decides how each ends."""

    def __init__(
        self,
        subscription: Subscription,
        owner: SubscriptionOwner,
        outcomes: OutcomeSink,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        """Create an idle pool.

        Args:
            subscription: The callback, its policy and its counts.
            owner: The member that consumes the subscription.
            outcomes: Publishes copies and acknowledges.
            random: Source of the chance in backoffs.
            clock: The time of day, in seconds since 1970.
        """
        self.subscription = subscription
        self.flow = FlowController(subscription.concurrency)
        self.scheduler: KeyScheduler[InFlight] = KeyScheduler(subscription.concurrency)
        self.tasks: set[asyncio.Task[None]] = set()
        self.immediate_retries: set[InFlight] = set()
        """Deliveries that failed and wait for an immediate retry."""
        self.clock = clock
        self.outcomes = outcomes
        self._owner = owner
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._name = f"msgbus {subscription.address}"
        self._backoff = GuardedBackoff(
            subscription.policy.backoff,
            DEFAULT_BACKOFF,
            MAX_BACKOFF_SECONDS,
            f"queue {subscription.address}, group {subscription.group}: RetryPolicy(backoff=…)",
        )
        self.outage = Outage(self, outcomes.publish_copy, random)

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Queue ``delivery``, which was received from the queue itself; ``start()`` makes it run.

        A message that was published with a delay goes to a retry queue instead.
        """
        held = InFlight(delivery, session, self, self.flow)
        session.add(held)
        self.flow.in_flight += 1
        message = delivery.message
        if NOT_BEFORE in message.system and (left := initial_delay(message, now := self.clock())) > 0:
            self.outcomes.publish_copy(held, retry_copy(message, left, now))
        else:
            self._queue(held)

    def enqueue(self, held: InFlight) -> None:
        """Run ``held``, a due delivery of a retry queue.

        A pause of the subscription does not delay it, unless it failed during the outage that has caused the pause.
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
        """Whether the subscription was cancelled: deliveries that still arrive are left to the next session."""
        return self.subscription.state == "cancelled"

    def demand(self) -> int:
        """Return the capacity for the next ``receive()``, in deliveries."""
        room = self.flow.demand()
        return min(room, self.outage.demand()) if self.outage.paused else room

    def start(self) -> None:
        """Start a worker task for each delivery that may run, up to the concurrency."""
        for _ in range(min(self.scheduler.waiting, self.scheduler.concurrency - len(self.tasks))):
            task = self._loop.create_task(self._work(), name=self._name)
            self.tasks.add(task)

    def run_again(self, held: InFlight) -> None:
        """Run the immediate retry of ``held``."""
        self.immediate_retries.discard(held)
        held.admitted = True
        self.run(held)

    def run(self, held: InFlight) -> None:
        """Queue ``held`` for its callback: in front of everything queued if it still occupies its ordering key."""
        held.timer = None
        held.state = QUEUED
        if held.is_scheduled:
            self.scheduler.resume(held)
        else:
            self._queue(held)
        self.start()

    def release_key(self, held: InFlight) -> None:
        """Free the ordering key of ``held``, if ``held`` occupies it, and start the deliveries behind it."""
        if held.is_scheduled:
            held.is_scheduled = False
            self.scheduler.release(held)
            self.start()

    def cancel_immediate_retry(self, held: InFlight) -> None:
        """Cancel the immediate retry that ``held`` waits for."""
        self.immediate_retries.discard(held)
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    # Ends of a delivery without its callback: a drain, a lost session.

    def expedite(self, held: InFlight) -> None:
        """Shorten the wait of ``held``, since its session drains.

        An immediate retry runs at once. A message that waits in memory for its time goes back to a retry queue.
        """
        if held.timer is not None:
            held.timer.cancel()
        if held.state is DeliveryState.WAITING and held.timer is not None:
            # By the timer: the clock of the member that sent the message here may be hours off.
            left = max(held.timer.when() - self._loop.time(), 0.0) + remaining_delay(held.delivery.message)
            self.outcomes.publish_copy(held, retry_copy(held.delivery.message, left, self.clock()))
        elif held.state is DeliveryState.SUSPENDED:
            self.run_again(held)

    def drain(self, held: InFlight) -> None:
        """End ``held`` without calling the callback: the subscription is paused and the session drains."""
        self.outage.drain(held)

    def give_up(self, held: InFlight) -> None:
        """Leave ``held``, and the deliveries queued behind it in its ordering key, to the next session, in order."""
        first = held.is_scheduled and held.state is not DeliveryState.QUEUED
        self._drop(held)
        for behind in list(self.scheduler.queued_behind(held.ordering_key)) if first else ():
            if behind.session is held.session and not behind.dropped:
                self._drop(behind)
        self.release_key(held)

    def abandon(self, held: InFlight) -> None:
        """End ``held`` when the time of its drain is over: cancel its callback if it runs, else give it up."""
        if held.state is not DeliveryState.RUNNING:
            self.give_up(held)
            return
        self._drop(held)
        if held.worker is not None:
            held.worker.cancel()

    def fence(self, held: InFlight) -> None:
        """Make the outcome of ``held`` void: its session is lost, and another member gets the message.

        A running callback may end, but its outcome does not count. Deliveries behind it in its ordering key stay with
        this member. A delivery that is done stays done: the broker's answer that it no longer belongs to this member
        may only mean that it was acknowledged.
        """
        if held.state in {DeliveryState.DONE, DeliveryState.DROPPED}:
            return
        running = held.state is DeliveryState.RUNNING
        self._drop(held)
        if not running:
            self.release_key(held)

    def cancel_probes(self) -> None:
        """Cancel the scheduled probes of a paused subscription."""
        self.outage.cancel_probes()

    def capacity_changed(self) -> None:
        """Tell the member that this pool may take more deliveries."""
        self._owner.subscriptions_changed()

    def reopen(self) -> None:
        """End the sessions of the queue and begin new ones, so that deliveries that have not started go back."""
        self._owner.reopen(self.subscription)

    def _drop(self, held: InFlight) -> None:
        self.cancel_immediate_retry(held)
        # A queued delivery keeps its place in its ordering key; the scheduler passes it over when its turn comes.
        held.is_scheduled &= held.state is not DeliveryState.QUEUED
        held.give_up()
        held.session.remove(held)
        held.flow.in_flight -= 1

    # The worker tasks.

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
                except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - any error is the message's failure
                    error = raised
                ended = now()
                if error is None:
                    self.outage.succeeded_at = ended
                flow.record_duration(ended - began)
                began = ended  # start of the next callback, a few µs later
                held.worker = None
                while task.cancelling():  # swallowed by the callback or not: the task goes on with the next message
                    task.uncancel()
                self._ended(held, error)
                error = None  # break the reference cycle frame -> exception -> traceback -> frame
        finally:
            # Here and not in a done callback: a delivery that is accepted in between would never find a worker.
            self.tasks.discard(task)
        # No capacity is left although a worker is idle: other keys must not wait for the keys that are occupied.
        if self.scheduler.blocked and not self.outage.paused and not self.flow.capacity and self.flow.grow():
            self._owner.subscriptions_changed()

    def _ended(self, held: InFlight, error: BaseException | None) -> None:
        if not held.is_current:
            self.subscription.counts.fenced += 1
            held.is_scheduled = False
            self.scheduler.finish(held)
        elif error is None:
            self.subscription.counts.handled += 1
            self.outcomes.finish(held)
            held.is_scheduled = False
            self.scheduler.finish(held)
            if self.outage.failing:
                self.outage.record_success()
        else:
            self.scheduler.suspend()  # its worker is free, its ordering key is not
            self._failed(held, error)

    # Failures.

    def _failed(self, held: InFlight, error: BaseException) -> None:
        if self.outage.handle_failure(held, error):
            return
        now = self.clock()
        failure = Failure(error, now, held.failing_since(now))
        message = held.mark_failed()
        self.subscription.counts.failed += 1
        policy = self.subscription.policy
        outcome, chance = decide(error, message, policy, now), self._random.random()
        if isinstance(outcome, RetryImmediately):
            if held.session.draining and not policy.delays:  # the policy keeps order
                self.give_up(held)
                return
            if policy.delays and (held.session.draining or self._has_many_retries):
                outcome = RetryLater(policy.delays[0])
        self._carry_out(held, message, failure, outcome, chance)

    @property
    def _has_many_retries(self) -> bool:
        """Whether so many messages wait for an immediate retry that good ones behind them would have to wait."""
        return len(self.immediate_retries) >= max(MIN_MANY_RETRIES, self.flow.limit // 2)

    def _carry_out(self, held: InFlight, message: Message, failure: Failure, outcome: Outcome, chance: float) -> None:
        first = message is held.delivery.message
        if isinstance(outcome, RetryImmediately):
            after = self._backoff.seconds(message.attempt, chance, failure.error, failure.at - failure.first)
            _report(message, failure.error, f"trying again in {after:.1f} s", first=first)
            held.state = DeliveryState.SUSPENDED
            self.immediate_retries.add(held)
            held.timer = self._loop.call_later(after, self.run_again, held)
        elif isinstance(outcome, RetryLater | GiveUp):
            _report(message, failure.error, _plan(outcome), first=first)
            self.outcomes.carry_out(held, message, failure, outcome)


def _report(message: Message, error: BaseException, plan: str, *, first: bool) -> None:
    logger.warning(
        "queue %s, group %s: message %s failed at attempt %d (%s: %s), %s",
        message.queue,
        message.group,
        message.id,
        message.attempt,
        type(error).__name__,
        error,
        plan,
        exc_info=error if first else None,
    )


def _plan(outcome: RetryLater | GiveUp) -> str:
    if isinstance(outcome, GiveUp):
        return f"dead-lettered: {outcome.reason}"
    return f"trying again in {outcome.after:.1f} s"
