"""Member: the part of this process in one group, and its receive loop.

A member has one general consumer over all its queues. Its loop is the only task that calls ``subscribe()`` and
``receive()``. Each delivery goes to the worker pool or the retry intake of its queue; the outcome sink ends it.

- Sessions begin and end as the broker says (see :mod:`msgbus.consuming.session_tracker`).
- The loop ends only by ``stop()``. When the adapter raises, all sessions count as lost, and the member opens a new
  consumer after a backoff.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.adapter.timeouts import cancel_and_wait, wait_for_event
from msgbus.backoff import Backoff
from msgbus.consuming.assignment import Assignment
from msgbus.consuming.outcome_sink import OutcomeSink
from msgbus.consuming.session_metrics import SessionMetrics
from msgbus.consuming.session_tracker import SessionTracker
from msgbus.consuming.worker_pool import WorkerPool
from msgbus.errors import AccessRefused, BrokerClosed, BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from random import Random

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.session_metrics import SessionCounts
    from msgbus.health import QueueHealth
    from msgbus.subscription import Subscription

__all__ = ["Member"]

logger = logging.getLogger("msgbus")

RECEIVE_TIMEOUT_SECONDS: Final = 1.0
"""Seconds that a ``receive()`` waits at most; ``wake()`` ends it earlier."""
STABLE_AFTER_SECONDS: Final = 10.0
"""Seconds of consuming after which the next interruption counts as the first: its backoff starts small again."""
CALLBACKS_END_TIMEOUT_SECONDS: Final = 1.0
"""Seconds that cancelled callbacks have to end when the member stops."""
_RECONNECT_BACKOFF: Final = Backoff(first=0.1, most=5.0)


class Member:
    """The part of one process in a group."""

    def __init__(
        self, adapter: Adapter, group: str, random: Random, clock: Callable[[], float], counts: SessionCounts
    ) -> None:
        self.group = group
        self._outcomes = OutcomeSink(adapter, group, random)
        self._adapter = adapter
        self._assignment = Assignment(adapter, group, random)
        self._sessions = SessionTracker(
            group, SessionMetrics(group, counts), self._outcomes, self._assignment.queue_refused
        )
        self._random = random
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._trouble = ""
        self._consumer: Consumer | None = None
        self._stop = asyncio.Event()
        self._grace = 0.0
        self._task: asyncio.Task[None] | None = None

    # What the broker calls.

    def add(self, subscription: Subscription) -> None:
        """Consume the queue of ``subscription`` as well."""
        self._assignment.add(WorkerPool(subscription, self, self._outcomes, self._random, self._clock))
        subscription.attach(self)
        self._wake()

    def discard(self, subscription: Subscription) -> None:
        """Implement :meth:`SubscriptionOwner.discard`: stop consuming the queue of ``subscription``."""
        self._assignment.discard(subscription)
        self._wake()
        if self._task is None or self._task.done():
            self._assignment.finish_discarded()

    def reopen(self, subscription: Subscription) -> None:
        """Implement :meth:`SubscriptionOwner.reopen`."""
        self._assignment.reopen(subscription)
        self._wake()

    def recheck_queues(self) -> None:
        """Look soon which of the wanted queues exist; changes that follow within moments are applied together."""
        self._assignment.recheck_queues()
        self._wake()

    def subscriptions_changed(self) -> None:
        """Implement :meth:`SubscriptionOwner.subscriptions_changed`."""
        self._assignment.request_apply()
        self._wake()

    def _wake(self) -> None:
        if self._consumer is not None:
            self._consumer.wake()

    def start(self) -> None:
        """Start the receive loop."""
        self._task = self._loop.create_task(self._run(), name=f"msgbus member of {self.group}")

    async def stop(self, grace: float) -> None:
        """Finish the running callbacks, for at most ``grace`` seconds; acknowledge them and give back the rest."""
        self._grace = grace
        self._stop.set()
        self._wake()
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._end_callbacks()
        await self._outcomes.close()
        self._close_subscriptions()

    def end_grace(self) -> None:
        """End the grace of ``stop()`` now: cancel the callbacks that still run."""
        self._grace = 0.0
        self._sessions.abandon_all()

    def health(self, when: Callable[[float], datetime]) -> Iterator[QueueHealth]:
        """Yield the state of each queue. No I/O."""
        return self._assignment.health(when, self._problem, draining=self._stop.is_set())

    def _problem(self, address: Address) -> str:
        return self._trouble or (self._consumer.problem(address) if self._consumer is not None else "")

    # The loop.

    async def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = self._loop.time()
            try:
                await self._open()
                self._trouble = ""
                await self._serve()
            except Exception as error:  # noqa: BLE001 - after any error of an adapter, the member must go on
                failures = 1 if self._loop.time() - began > STABLE_AFTER_SECONDS else failures + 1
                self._report(error, failures)
                if isinstance(error, AccessRefused):
                    self._refuse(error)
                await self._drop_consumer(0)
                await wait_for_event(_RECONNECT_BACKOFF.wait(failures, self._random.random()), self._stop)
        await self._drop_consumer(self._grace)

    async def _open(self) -> None:
        self._consumer = await self._adapter.open_consumer(self.group, self._sessions)
        self._outcomes.use_consumer(self._consumer)
        await self._assignment.apply(self._consumer)

    async def _serve(self) -> None:
        consumer = self._consumer
        every = self._adapter.extend_interval_seconds
        extending = (
            self._loop.create_task(self._sessions.keep_extending(consumer, every)) if consumer and every else None
        )
        try:
            while consumer is not None and not self._stop.is_set():
                if self._assignment.is_due:
                    await self._assignment.apply(consumer)
                self._accept(
                    await consumer.receive(
                        self._assignment.demand(), self._assignment.seconds_until_due(RECEIVE_TIMEOUT_SECONDS)
                    )
                )
        finally:
            if extending is not None:
                await cancel_and_wait(extending, timeout=None)

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        touched: dict[WorkerPool, None] = {}  # not a set: the order in which tasks start must not depend on addresses
        before: Delivery | None = None
        intake, session = None, None
        for delivery in deliveries:
            # Deliveries arrive in runs of one queue and session, which are looked up once.
            if before is None or delivery.session is not before.session or delivery.address is not before.address:
                intake, session = self._assignment.intake(delivery.address), self._sessions.find(delivery.session)
                if isinstance(intake, WorkerPool):
                    touched[intake] = None
            before = delivery
            if intake is not None and session is not None:
                intake.accept(delivery, session)
            # else: not acknowledged, so not lost; the next session gets it
        for pool in touched:
            pool.start()
            # RabbitMQ changes a limit by a new session. Stalled deliveries would have to be handled again for it.
            if not self._outcomes.stalled and pool.flow.adapt(self._loop.time()):
                self._assignment.request_apply()

    def _report(self, error: Exception, failures: int) -> None:
        self._trouble = str(error) if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
        level = logging.WARNING if failures == 1 else logging.DEBUG
        bug = None if isinstance(error, BrokerError) else error
        logger.log(level, "group %s: consuming was interrupted: %s; trying again", self.group, error, exc_info=bug)

    def _refuse(self, error: AccessRefused) -> None:
        """Handle a refusal that is the group's own and no queue's.

        Make every pending ``ready()`` raise ``error``. The member tries again: rights may be granted later.
        """
        for pool in self._assignment.wanted.values():
            pool.subscription.fail(error)

    # The end of a consumer, and of the member.

    async def _drop_consumer(self, budget: float) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if not self._stop.is_set():
            self._sessions.mark_all_lost()
        try:
            await consumer.close(budget)
        except Exception:
            logger.exception(
                "group %s: closing the consumer failed; its unacknowledged messages are delivered again", self.group
            )
        self._sessions.mark_all_lost()
        self._assignment.consumer_lost()

    async def _end_callbacks(self) -> None:
        tasks = {task for pool in self._assignment.wanted.values() for task in pool.tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=CALLBACKS_END_TIMEOUT_SECONDS)

    def _close_subscriptions(self) -> None:
        self._assignment.finish_discarded()
        for pool in self._assignment.wanted.values():
            pool.cancel_probes()
            subscription = pool.subscription
            subscription.fail(BrokerClosed(f"{subscription!r}: the broker was closed"))
            subscription.attach(None)
