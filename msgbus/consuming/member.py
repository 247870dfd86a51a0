"""The session loop of a group: receive, dispatch by queue, settle; drain what ends; begin again when all is lost.

One member has one general consumer over all its queues. Its loop is the only one that calls subscribe() and receive();
sessions begin and end around it as the broker says. It never ends by itself: whatever the server does, it tries again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.consuming.acknowledger import Acknowledger
from msgbus.consuming.assignment import Assignment
from msgbus.consuming.session_metrics import SessionMetrics
from msgbus.consuming.session_tracker import SessionTracker
from msgbus.consuming.worker_pool import WorkerPool
from msgbus.errors import AccessRefused, BrokerClosed, BrokerError
from msgbus.failure.forwarder import Forwarder
from msgbus.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from random import Random

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.consuming.session_metrics import SessionCounts
    from msgbus.health import QueueHealth
    from msgbus.in_flight.deliveries import InFlight
    from msgbus.subscription import Subscription

__all__ = ["Member"]

logger = logging.getLogger("msgbus")

RECEIVE_TIMEOUT_SECONDS: Final = 1.0
"""Seconds a receive() waits at most; wake() ends it earlier."""
STABLE_AFTER_SECONDS: Final = 10.0
"""Seconds of consuming after which the next interruption is a first one again."""
FLUSH_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that the last acknowledgements of a drain may take."""
_RECONNECT_BACKOFF: Final = Backoff(first=0.1, most=5.0)


class Member:
    """One process's part in a group."""

    def __init__(
        self, adapter: Adapter, group: str, random: Random, clock: Callable[[], float], counts: SessionCounts
    ) -> None:
        self.group = group
        self._sessions = SessionTracker(group, SessionMetrics(group, counts), self._flush)
        self._adapter = adapter
        self._assignment = Assignment(adapter, group)
        self._random = random
        self._clock = clock
        self._forwarder = Forwarder(adapter, lambda held: held.runner.copy_confirmed(held), random)
        self._loop = asyncio.get_running_loop()
        self._trouble = ""
        self._consumer: Consumer | None = None
        self._acknowledger: Acknowledger | None = None
        self._stop = asyncio.Event()
        self._grace = 0.0
        self._task: asyncio.Task[None] | None = None

    # What the broker calls.

    def add(self, subscription: Subscription) -> None:
        """Consume one more queue."""
        self._assignment.add(WorkerPool(subscription, self, self, self._random, self._clock))
        subscription.attach(self)
        self._wake()

    def discard(self, subscription: Subscription) -> None:
        """Stop consuming its queue; its ``gone()`` is called when nothing of it is in hand."""
        self._assignment.discard(subscription)
        self._wake()
        if self._task is None or self._task.done():
            self._assignment.finish_discarded()

    def reopen(self, subscription: Subscription) -> None:
        """End the sessions of its queue and begin new ones: what has not started goes back."""
        self._assignment.reopen(subscription)
        self._wake()

    def recheck_queues(self) -> None:
        """Which queues there are has changed; more may follow within moments."""
        self._assignment.recheck_queues()
        self._wake()

    def subscriptions_changed(self) -> None:
        """Apply the subscriptions and their limits again soon."""
        self._assignment.request_apply()
        self._wake()

    def _wake(self) -> None:
        if self._consumer is not None:
            self._consumer.wake()

    def start(self) -> None:
        """Begin to consume."""
        self._task = self._loop.create_task(self._run(), name=f"msgbus member of {self.group}")

    async def stop(self, grace: float) -> None:
        """Finish what runs, for at most ``grace`` seconds, acknowledge it and give back the rest."""
        self._grace = grace
        self._stop.set()
        self._wake()
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._end_callbacks()
        await self._forwarder.close()
        self._close_subscriptions()

    def end_grace(self) -> None:
        """Grace is over now: callbacks that still run are cancelled."""
        self._grace = 0.0
        self._sessions.abandon_all()

    def health(self, when: Callable[[float], datetime]) -> Iterator[QueueHealth]:
        """How each of its queues is. No I/O."""
        trouble = self._trouble or (self._consumer.problem() if self._consumer is not None else "")
        return self._assignment.health(when, trouble, draining=self._stop.is_set())

    # What the workers call: a Settler.

    def acknowledge(self, held: InFlight) -> None:
        """See OutcomeSink."""
        if self._acknowledger is not None:
            self._acknowledger.add(held)

    def publish_copy(self, held: InFlight, outgoing: Outgoing) -> None:
        """See OutcomeSink."""
        self._forwarder.send(held, outgoing)

    # The loop.

    async def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = self._loop.time()
            try:
                await self._open()
                self._trouble = ""
                await self._serve()
            except Exception as error:  # noqa: BLE001 - whatever an adapter raises, the member must live on
                failures = 1 if self._loop.time() - began > STABLE_AFTER_SECONDS else failures + 1
                self._report(error, failures)
                if isinstance(error, AccessRefused):
                    self._refuse(error)
                await self._drop_consumer(0)
                await self._pause(_RECONNECT_BACKOFF.wait(failures, self._random.random()))
        await self._drop_consumer(self._grace)

    async def _open(self) -> None:
        self._consumer = await self._adapter.open_consumer(self.group, self._sessions)
        self._acknowledger = Acknowledger(self._consumer, self._random)
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
                extending.cancel()
                await asyncio.wait({extending})

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        touched: dict[WorkerPool, None] = {}  # no set: in which order tasks begin shall not depend on their addresses
        before: Delivery | None = None
        intake, session = None, None
        for delivery in deliveries:
            # They come in runs of one queue and session, which are looked up once.
            if before is None or delivery.session is not before.session or delivery.address is not before.address:
                intake, session = self._assignment.intake(delivery.address), self._sessions.find(delivery.session)
                if isinstance(intake, WorkerPool):
                    touched[intake] = None
            before = delivery
            if intake is not None and session is not None:
                intake.accept(delivery, session)
            # else it is not acknowledged, so not lost: the next session gets it
        for workers in touched:
            workers.start()
            # A limit may only change with the session (RabbitMQ), and what is stuck would be called once more for it.
            if not self._forwarder.stalled and workers.flow.adapt(self._loop.time()):
                self._assignment.request_apply()

    def _report(self, error: Exception, failures: int) -> None:
        self._trouble = str(error) if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
        level = logging.WARNING if failures == 1 else logging.DEBUG
        bug = None if isinstance(error, BrokerError) else error
        logger.log(level, "group %s: consuming was interrupted, trying again: %s", self.group, error, exc_info=bug)

    def _refuse(self, error: AccessRefused) -> None:
        """Waiting would not help: who waits in ready() is told. The member tries again, as rights may be given."""
        for workers in self._assignment.wanted.values():
            workers.subscription.fail(error)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    # Letting go.

    async def _drop_consumer(self, budget: float) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if not self._stop.is_set():
            self._sessions.mark_all_lost()
        try:
            await consumer.close(budget)
        except Exception:
            logger.exception("group %s: the adapter failed to close its consumer", self.group)
        self._sessions.mark_all_lost()
        self._assignment.consumer_lost()

    async def _flush(self) -> None:
        if self._acknowledger is None:
            return
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS):
                await self._acknowledger.flush()
        except TimeoutError:
            logger.warning("group %s: the last acknowledgements were not confirmed; they may come again", self.group)

    async def _end_callbacks(self) -> None:
        tasks = {task for workers in self._assignment.wanted.values() for task in workers.tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _close_subscriptions(self) -> None:
        self._assignment.finish_discarded()
        for workers in self._assignment.wanted.values():
            workers.cancel_probes()
            subscription = workers.subscription
            subscription.fail(BrokerClosed(f"{subscription!r}: the broker was closed"))
            subscription.attach(None)
