"""Mistakes of the kind that only some orders of events show, each planted into the core as it is shipped."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from msgbus.adapter.watermark import Watermark
from msgbus.consuming.acknowledger import Acknowledger
from msgbus.consuming.outcome_sink import OutcomeSink
from msgbus.consuming.worker_pool import WorkerPool
from msgbus.errors import BrokerUnavailable
from msgbus.failure.copies import due_at, retry_copy
from msgbus.failure.forwarder import DestinationQueue
from msgbus.in_flight.deliveries import DeliveryState, InFlight, Session
from msgbus.retry import RetryImmediately
from msgbus_memory.consumer import MemoryConsumer
from tests.simulation.partitioned import Session as Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.message import Message
    from msgbus.retry import Outcome

    Plant = Callable[[pytest.MonkeyPatch], None]

__all__ = ["IDLE_RACES", "PARTITIONED_RACES", "RACES"]


def acknowledges_before_handling(patch: pytest.MonkeyPatch) -> None:
    receive = MemoryConsumer.receive

    async def receive_and_acknowledge(
        self: MemoryConsumer, room: Mapping[Address, int], wait: float
    ) -> Sequence[Delivery]:
        deliveries = await receive(self, room, wait)
        await self.acknowledge(deliveries)
        return deliveries

    patch.setattr(MemoryConsumer, "receive", receive_and_acknowledge)


def acknowledges_a_retry_before_it_is_published(patch: pytest.MonkeyPatch) -> None:
    publish_copy = OutcomeSink.publish_copy

    def acknowledge_and_publish(self: OutcomeSink, held: InFlight, copy: Outgoing) -> None:
        self.acknowledge(held)
        publish_copy(self, held, copy)

    patch.setattr(OutcomeSink, "publish_copy", acknowledge_and_publish)


def takes_a_refused_copy_for_published(patch: pytest.MonkeyPatch) -> None:
    take_stock = DestinationQueue._handle_results

    def believe(self: DestinationQueue, batch: Sequence[Any], verdicts: Sequence[Exception | None]) -> bool:
        return take_stock(self, batch, [None if isinstance(one, BrokerUnavailable) else one for one in verdicts])

    patch.setattr(DestinationQueue, "_handle_results", believe)


def takes_a_refused_acknowledgement_for_done(patch: pytest.MonkeyPatch) -> None:
    async def once(self: Acknowledger, batch: list[InFlight]) -> None:
        with contextlib.suppress(BrokerUnavailable):
            await self._consumer.acknowledge([held.delivery for held in batch if not held.session.over])
        self._release(batch)

    patch.setattr(Acknowledger, "_acknowledge", once)


def a_drain_forgets_what_is_held(patch: pytest.MonkeyPatch) -> None:
    async def at_once(self: Session) -> None:
        del self

    patch.setattr(Session, "wait_until_empty", at_once)


def a_try_in_place_leaves_its_lane(patch: pytest.MonkeyPatch) -> None:
    settle, again = WorkerPool._carry_out, WorkerPool.run_again

    def leave_and_settle(  # noqa: PLR0913, PLR0917 - the replaced method's arguments
        self: WorkerPool, held: InFlight, message: Message, failure: Any, outcome: Outcome, chance: float
    ) -> None:
        settle(self, held, message, failure, outcome, chance)
        if isinstance(outcome, RetryImmediately):
            self.release_key(held)

    def from_behind(self: WorkerPool, held: InFlight) -> None:
        if held.is_scheduled:
            again(self, held)
        else:
            held.timer = None
            self._queue(held)
            self.start()

    patch.setattr(WorkerPool, "_carry_out", leave_and_settle)
    patch.setattr(WorkerPool, "run_again", from_behind)


def what_was_given_up_still_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InFlight, "is_current", property(lambda _self: True))


def a_task_is_forgotten_after_its_end(patch: pytest.MonkeyPatch) -> None:
    work = WorkerPool._work

    async def work_and_stay(self: WorkerPool) -> None:
        task = asyncio.current_task()
        assert task is not None
        await work(self)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    patch.setattr(WorkerPool, "_work", work_and_stay)


def a_pump_is_forgotten_after_its_end(patch: pytest.MonkeyPatch) -> None:
    acknowledge_all = Acknowledger._acknowledge_all

    async def acknowledge_all_and_stay(self: Acknowledger) -> None:
        await acknowledge_all(self)
        self._task = task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: setattr(self, "_task", None))

    patch.setattr(Acknowledger, "_acknowledge_all", acknowledge_all_and_stay)


def a_drain_knows_no_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "_above", lambda _self, _held: True)


def a_drain_reckons_by_somebody_elses_clock(patch: pytest.MonkeyPatch) -> None:
    hurry = WorkerPool.expedite

    def by_the_clock(self: WorkerPool, held: InFlight) -> None:
        if held.state is DeliveryState.WAITING and held.timer is not None:
            held.timer.cancel()
            message, now = held.delivery.message, self.clock()
            self.outcomes.publish_copy(held, retry_copy(message, max(due_at(message) - now, 0.0), now))
        else:
            hurry(self, held)

    patch.setattr(WorkerPool, "expedite", by_the_clock)


def a_copy_without_a_call_does_not_move_the_cut(patch: pytest.MonkeyPatch) -> None:
    def publish_copy(self: OutcomeSink, held: InFlight, copy: Outgoing) -> None:
        self._forwarder.send(held, copy)

    patch.setattr(OutcomeSink, "publish_copy", publish_copy)


def a_partition_resumes_behind_what_was_fetched(patch: pytest.MonkeyPatch) -> None:
    take = Partition.take

    def take_and_commit(self: Partition, most: int, limit: int) -> list[Delivery]:
        deliveries = take(self, most, limit)
        for delivery in deliveries:
            self.finish(delivery.receipt)
        return deliveries

    patch.setattr(Partition, "take", take_and_commit)


def what_is_finished_out_of_order_is_committed(patch: pytest.MonkeyPatch) -> None:
    def finished(self: Watermark, position: int) -> bool:
        self._next = max(self._next, position + 1)
        return True

    patch.setattr(Watermark, "finished", finished)


RACES: Sequence[Plant] = (
    acknowledges_before_handling,
    acknowledges_a_retry_before_it_is_published,
    takes_a_refused_copy_for_published,
    takes_a_refused_acknowledgement_for_done,
    a_drain_forgets_what_is_held,
    a_try_in_place_leaves_its_lane,
    what_was_given_up_still_counts,
)

IDLE_RACES: Sequence[Plant] = (
    a_task_is_forgotten_after_its_end,
    a_pump_is_forgotten_after_its_end,
)
"""They show where a member has nothing else to do."""

PARTITIONED_RACES: Sequence[Plant] = (
    a_drain_forgets_what_is_held,
    a_drain_knows_no_cut,
    a_drain_reckons_by_somebody_elses_clock,
    a_copy_without_a_call_does_not_move_the_cut,
    a_partition_resumes_behind_what_was_fetched,
    what_is_finished_out_of_order_is_committed,
)
"""They show where acknowledging moves a position."""
