"""Outage handling of one subscription: carries out what its circuit breaker decides.

While the breaker is open, a message takes one of these ways::

    fresh, from the queue ──────────▶ waits at the gate for a probe ──▶ callback ─┬▶ returns: the breaker closes
    due, failed in the outage ──────▶ a probe has room, else parked ──▶ callback ─┼▶ outage error: parked, free try
    due, failed by an error of its own ───────────────────────────────▶ callback ─┴▶ other error: its policy

- A parked message is a copy in a retry queue, with its attempts as they were and its free tries in a header. So any
  member goes on counting.
- No message is kept in flight for the outage: where acknowledging moves a position, everything that is done above an
  in-flight message is delivered again after a crash.
- The exception is a policy without delays, which keeps the order of a key: such a message stays in flight, and its key
  waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from msgbus.failure.circuit_breaker import FAST_PROBE_SECONDS, CircuitBreaker, Phase, Verdict, parking_delay
from msgbus.failure.copies import Failure, free_try_headers, retry_copy
from msgbus.failure.guarded_backoff import MAX_PROBE_INTERVAL_SECONDS, GuardedBackoff
from msgbus.in_flight.deliveries import DeliveryState
from msgbus.retry import DEFAULT_PROBE_BACKOFF, is_outage, is_too_old

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from msgbus.adapter.envelope import Outgoing
    from msgbus.failure.circuit_breaker import Probe
    from msgbus.in_flight.deliveries import InFlight
    from msgbus.in_flight.key_scheduler import KeyScheduler
    from msgbus.subscription import Subscription

__all__ = ["Outage"]

logger = logging.getLogger("msgbus")

FRESH_HEAD_START_SECONDS: Final = 0.2
"""Seconds at the start of a probe in which fresh messages go first; then parked ones may use the rest of the probe.
Longer than a ``receive()`` takes."""
COUNTED_MAX: Final = 1000
"""Messages whose counted failures are remembered before those that have ended are dropped."""
_STILL_HERE: Final = frozenset({DeliveryState.SUSPENDED, DeliveryState.QUEUED, DeliveryState.RUNNING})


class PausablePool(Protocol):
    """The part of the worker pool that the breaker uses. The pool itself is in a higher layer."""

    subscription: Subscription
    scheduler: KeyScheduler[InFlight]
    clock: Callable[[], float]

    def start(self) -> None:
        """Start a worker task for each delivery that may run."""

    def run(self, held: InFlight) -> None:
        """Queue ``held`` for its callback, whether or not it occupies its ordering key already."""

    def cancel_immediate_retry(self, held: InFlight) -> None:
        """Cancel the immediate retry that ``held`` waits for."""

    def give_up(self, held: InFlight) -> None:
        """Leave ``held`` to the next session."""

    def capacity_changed(self) -> None:
        """Tell the member that the pool may take more deliveries."""

    def reopen(self) -> None:
        """End the sessions of the queue and begin new ones, so that deliveries that have not started go back."""


class Outage:
    """Circuit breaker of one subscription, with its timers and the deliveries that wait for a probe."""

    def __init__(
        self, workers: PausablePool, publish_copy: Callable[[InFlight, Outgoing], None], random: Random
    ) -> None:
        """Create a closed breaker. It calls ``publish_copy`` to publish a copy of a delivery and to acknowledge it."""
        policy = workers.subscription.policy
        self._workers = workers
        self._publish_copy = publish_copy
        self._policy = policy
        self._random = random
        self.paused = False
        """Whether the subscription is paused."""
        self.failing = False
        """Whether a callback has failed by an outage error since one returned last."""
        self.succeeded_at = float("-inf")
        """The event loop's time at which a callback returned last. The worker pool sets it: a call would cost more."""
        self._breaker = CircuitBreaker(policy.pause_after, policy.patience_seconds)
        self._probe_backoff = GuardedBackoff(
            policy.probe_backoff,
            DEFAULT_PROBE_BACKOFF,
            MAX_PROBE_INTERVAL_SECONDS,
            f"queue {workers.subscription.address}, group {workers.subscription.group}: RetryPolicy(probe_backoff=…)",
        )
        self._last_error: BaseException = TimeoutError()
        """The outage error that was seen last while the subscription is paused: for the policy's ``probe_backoff``."""
        self._pool: deque[InFlight] = deque()
        """Messages that failed during the outage and wait for a probe: for a moment, or, where the policy keeps the
        order of their key, until a probe has room for them."""
        self._counted: dict[InFlight, None] = {}
        """Messages whose failures were counted; they become free tries if the breaker opens while these are here."""
        self._fresh_left = 0
        """Fresh messages that the current probe may still try."""
        self._parked_left = 0
        """Messages that failed during the outage and that the current probe may still try."""
        self._shared = False
        """Whether both numbers are one by now, for either kind of message."""
        self._probed_keys: set[str] = set()
        """Keys that the current probe has tried: it tries one message of each."""
        self._gave_back = False
        """Whether deliveries that had not started when the pause began were given back."""
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._epoch = workers.clock() - self._loop.time()

    # For the worker pool.

    def handle_failure(self, held: InFlight, error: BaseException) -> bool:
        """Handle a failure if it belongs to the outage. Return False if it is the message's own: its policy decides."""
        now = self._now()
        breaker, probe = self._breaker, held.is_probe
        held.is_probe = False
        if not self._is_outage(held, error) or is_too_old(held.message, self._policy, self._workers.clock()):
            breaker.record_other_failure(probe=probe)
            return False
        self.failing = True
        breaker.note_success(now - (self._loop.time() - self.succeeded_at))
        verdict = breaker.record_failure(
            held.message.id,
            first_failure=held.first_failure(now),
            failing_since=held.failing_since(now),
            free_tries=held.free_tries,
            probe=probe,
            now=now,
        )
        if verdict is Verdict.COUNTED:
            self._note_counted(held)
            return False
        if verdict is Verdict.EXHAUSTED:
            if self.paused:
                self._resume("patience is over, and failures count again")
            held.count_free_tries()
            return False
        if verdict is Verdict.OPENED:
            self._pause(error)
        if self.paused:
            self._last_error = error
        self._set_aside(held, error)
        return True

    def record_success(self) -> None:
        """Record that a callback returned; called only while ``failing``."""
        self.failing = False
        self._counted.clear()
        if self._breaker.record_success(self._now()):
            self._resume("a message was handled")

    def demand(self) -> int:
        """Return how many fresh messages the current probe can still try; more would only wait."""
        return self._fresh_left

    def accept_due(self, held: InFlight) -> bool:
        """Take ``held`` if it failed during the outage and is due now. Return False if it may run."""
        if not self.paused or not held.free_tries:
            return False
        if self._take_parked(held):
            return False
        if self._shared:
            self._park_again(held)
        else:
            held.state = DeliveryState.PAUSED
            self._pool.append(held)  # in a moment it is known how much of the probe the fresh messages use
        return True

    def _park_again(self, held: InFlight) -> None:
        now = self._workers.clock()
        wait = self._parking_seconds(parking_delay(held.failing_for))
        self._publish_copy(held, retry_copy(held.delivery.message, wait, now))

    def drain(self, held: InFlight) -> None:
        """End ``held`` without a try, since its session ends, so that no message is repeated."""
        if self._keeps_order(held) or held.delivery.position is None:
            self._workers.give_up(held)
            return
        held.pass_over()
        now = self._workers.clock()
        self._publish_copy(held, retry_copy(held.delivery.message, 0.0, now))

    def cancel_probes(self) -> None:
        """Cancel the scheduled probe."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # Pausing.

    def _pause(self, error: BaseException) -> None:
        subscription, scheduler = self._workers.subscription, self._workers.scheduler
        count = len(self._breaker.failing)
        reason = f"{count} different messages in a row failed, the last with {type(error).__name__}: {error}"
        logger.error(
            "queue %s, group %s: paused: %s; probing with up to %d messages every second, later every few seconds",
            subscription.address,
            subscription.group,
            reason,
            scheduler.concurrency,
        )
        self.paused = True
        self._gave_back = False
        subscription.set_paused(reason)
        scheduler.set_gate(self._admits)
        self._fresh_left = self._parked_left = 0
        counted, self._counted = self._counted, {}
        for held in counted:
            if held.state in _STILL_HERE:
                held.uncount()
            if held.state is DeliveryState.SUSPENDED:
                self._workers.cancel_immediate_retry(held)
                self._set_aside(held, error)
        self._timers = [self._loop.call_later(FAST_PROBE_SECONDS, self._probe)]

    def _set_aside(self, held: InFlight, error: BaseException) -> None:
        """Park ``held``, which failed during the outage, or keep it for a later probe."""
        held.record_free_try()
        keeps_order = self._keeps_order(held)
        if held.session.draining and (keeps_order or held.delivery.position is None):
            self._workers.give_up(held)
        elif keeps_order and self.paused:
            held.state = DeliveryState.PAUSED
            self._pool.append(held)
        else:
            now = self._now()
            since = held.failing_since(now)
            wait = self._parking_seconds(parking_delay(now - since))
            headers = free_try_headers(held.message, Failure(error, now, since), held.free_tries, wait)
            self._publish_copy(held, retry_copy(held.message, wait, self._workers.clock(), headers))

    def _keeps_order(self, held: InFlight) -> bool:
        return not self._policy.delays and held.ordering_key is not None and not held.delivery.address.is_retry_queue

    def _parking_seconds(self, wait: float) -> float:
        """Return ``wait``, shortened so that the message is due again when patience is over."""
        breaker = self._breaker
        return max(min(wait, breaker.failing_since + breaker.patience - self._now()), 1.0)

    def _note_counted(self, held: InFlight) -> None:
        if len(self._counted) >= COUNTED_MAX:
            self._counted = {one: None for one in self._counted if one.state in _STILL_HERE}
        if self._policy.pause_after is not None:
            self._counted[held] = None

    def _now(self) -> float:
        """Return the time of day without the steps of a clock that is set: a step could end patience."""
        return self._epoch + self._loop.time()

    # Probing.

    def _probe(self) -> None:
        self._timers.clear()
        if not self.paused:
            return
        scheduler = self._workers.scheduler
        places = max(scheduler.concurrency - scheduler.running, 0)
        if self._give_back():
            self._timers = [self._loop.call_later(FAST_PROBE_SECONDS, self._probe)]
            return
        probe, chance = self._breaker.plan_probe(places, self._now()), self._random.random()
        if probe is None:
            exhausted = self._breaker.phase is Phase.EXHAUSTED
            self._resume(
                "patience is over, and failures count again"
                if exhausted
                else "no message of the last probe failed by an outage error"
            )
            return
        self._probed_keys.clear()
        self._fresh_left, self._parked_left, self._shared = probe.fresh, probe.parked, False
        self._use_pool()
        scheduler.reopen_gate()
        self._timers = [
            self._loop.call_later(FRESH_HEAD_START_SECONDS, self._share_probe),
            self._loop.call_later(max(self._seconds_until_next(probe, chance), FRESH_HEAD_START_SECONDS), self._probe),
        ]
        self._workers.start()
        self._workers.capacity_changed()

    def _seconds_until_next(self, probe: Probe, chance: float) -> float:
        if not probe.slow:
            return probe.wait
        failing_for = self._now() - self._breaker.failing_since
        return min(self._probe_backoff.seconds(probe.slow, chance, self._last_error, failing_for), probe.wait)

    def _give_back(self) -> bool:
        """Give back deliveries that have not started, once in each pause: another member may be able to handle them.

        Deliveries with a position are not given back: the broker would deliver them to this member again, and would
        interrupt other queues for it. Nothing is given back while a callback runs: the session, and other queues with
        it, would wait for the callback's end.
        """
        scheduler = self._workers.scheduler
        waits = scheduler.first_gated
        if self._gave_back or scheduler.running or waits is None or waits.delivery.position is not None:
            return False
        self._gave_back = True
        self._workers.reopen()
        return True

    def _share_probe(self) -> None:
        """Let fresh and parked messages share the rest of the probe."""
        self._shared = True
        self._fresh_left = self._parked_left = self._fresh_left + self._parked_left
        self._use_pool()
        pool, self._pool = self._pool, deque()
        for held in pool:
            if self._keeps_order(held):
                self._pool.append(held)
            else:
                self._park_again(held)
        self._workers.capacity_changed()

    def _use_pool(self) -> None:
        for _ in range(len(self._pool)):
            held = self._pool.popleft()
            if held.state is not DeliveryState.PAUSED:
                continue  # given up meanwhile
            if self._take_parked(held):
                self._workers.run(held)
            else:
                self._pool.append(held)

    def _admits(self, held: InFlight) -> bool:
        """Return whether ``held`` may run now. This is the gate of the key scheduler."""
        if held.admitted:
            return True
        if held.session.draining:  # the pause began during the drain
            self.drain(held)
            return False
        if not self._fresh_left or not self._new_key(held):
            return False
        self._use_probe(held)
        return True

    def _take_parked(self, held: InFlight) -> bool:
        if not self._parked_left or not self._new_key(held):
            return False
        self._use_probe(held)
        return True

    def _new_key(self, held: InFlight) -> bool:
        """Return whether the probe has tried no message of the key of ``held`` so far."""
        return held.ordering_key is None or held.ordering_key not in self._probed_keys

    def _use_probe(self, held: InFlight) -> None:
        if held.ordering_key is not None:
            self._probed_keys.add(held.ordering_key)
        if self._shared or held.free_tries:
            self._parked_left -= 1
        if self._shared or not held.free_tries:
            self._fresh_left -= 1
        held.admitted = held.is_probe = True

    def _is_outage(self, held: InFlight, error: BaseException) -> bool:
        try:
            return is_outage(error, self._policy)
        except Exception:
            subscription = self._workers.subscription
            logger.exception(
                "queue %s, group %s: RetryPolicy(outage=…) raised for message %s; the failure counts as its own",
                subscription.address,
                subscription.group,
                held.message.id,
            )
            return False

    # Going on.

    def _resume(self, why: str) -> None:
        subscription, scheduler = self._workers.subscription, self._workers.scheduler
        logger.info("queue %s, group %s: resumed: %s", subscription.address, subscription.group, why)
        self.paused = False
        self._last_error = TimeoutError()  # the other one keeps the frames of its callback alive
        self.cancel_probes()
        self._fresh_left = self._parked_left = 0
        subscription.set_paused("")
        scheduler.remove_gate()
        pool, self._pool = self._pool, deque()
        for held in pool:
            if held.state is DeliveryState.PAUSED:
                self._workers.run(held)
        self._workers.start()
        self._workers.capacity_changed()
