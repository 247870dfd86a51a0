"""Outcomes carried out over a scripted server: publish first, acknowledge last."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from msgbus.consuming.outcome_sink import OutcomeSink
from msgbus.consuming.worker_pool import WorkerPool
from msgbus.errors import BrokerUnavailable
from msgbus.failure.copies import Failure
from msgbus.in_flight.deliveries import DeliveryState, InFlight, Session
from msgbus.retry import GiveUp, RetryLater
from msgbus.subscription import Subscription
from tests.support.scripted_adapter import QUEUE, ScriptedAdapter, ScriptedConsumer, delivery

if TYPE_CHECKING:
    from msgbus.message import Message


class Listener:
    """No sessions."""

    def begun(self, session: object) -> None:
        del session

    async def ending(self, sessions: object, budget: float) -> None:
        del sessions, budget

    def lost(self, sessions: object) -> None:
        del sessions

    def queue_refused(self, address: object, error: object) -> None:
        del address, error


class Owner:
    """A member that changes nothing."""

    def subscriptions_changed(self) -> None:
        return

    def discard(self, subscription: Subscription) -> None:
        del subscription

    def reopen(self, subscription: Subscription) -> None:
        del subscription


async def _callback(message: Message) -> None:
    del message


class Fixture:
    """A sink with one delivery in flight."""

    def __init__(self) -> None:
        self.adapter = ScriptedAdapter()
        self.consumer = ScriptedConsumer(self.adapter, Listener())
        self.sink = OutcomeSink(self.adapter, "g", Random(1))
        self.subscription = Subscription(QUEUE, "g", _callback, 1)
        self.pool = WorkerPool(self.subscription, Owner(), self.sink, Random(1), lambda: 1000.0)
        self.session = Session("s")
        self.held = InFlight(delivery("s", 1, "m", "k"), self.session, self.pool, self.pool.flow)
        self.session.add(self.held)
        self.pool.flow.in_flight += 1

    def fail(self, outcome: RetryLater | GiveUp) -> None:
        failure = Failure(ValueError("broken"), 1000.0, 1000.0)
        self.sink.carry_out(self.held, self.held.mark_failed(), failure, outcome)

    async def turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_retry_is_acknowledged_when_its_copy_is_confirmed_and_not_before() -> None:
    one = Fixture()
    one.sink.use_consumer(one.consumer)
    one.adapter.script.append([BrokerUnavailable("away")])
    one.fail(RetryLater(5.0))
    await one.turns()
    assert one.held.state is DeliveryState.STALLED
    assert {str(address) for address in one.sink.stalled} == {"q.g.retry.5s"}
    assert not one.consumer.acknowledged
    async with asyncio.timeout(5):
        while not one.consumer.acknowledged:
            await asyncio.sleep(0.01)
    assert [str(copy.address) for copy in one.adapter.copies] == ["q.g.retry.5s"]
    assert one.consumer.acknowledged == ["m"]
    assert not one.session.in_flight
    assert not one.sink.stalled
    assert one.subscription.counts.retried == 1


async def test_a_dead_letter_is_published_with_its_reason_and_moves_the_cut() -> None:
    one = Fixture()
    one.sink.use_consumer(one.consumer)
    one.fail(GiveUp("failed 1 times"))
    assert one.session.highest_started == 1
    await one.turns()
    (copy,) = one.adapter.copies
    assert copy.address.is_dead_letter_queue
    assert copy.headers["msgbus-reason"] == "failed 1 times"
    assert one.consumer.acknowledged == ["m"]
    assert one.subscription.counts.dead_lettered == 1


async def test_a_copy_of_a_lost_session_is_not_acknowledged() -> None:
    one = Fixture()
    one.sink.use_consumer(one.consumer)
    one.fail(RetryLater(5.0))
    one.session.end()
    await one.turns()
    await one.sink.flush()
    assert not one.consumer.acknowledged
    await one.sink.close()


async def test_a_sink_without_a_consumer_has_nothing_to_flush() -> None:
    one = Fixture()
    one.sink.finish(one.held)
    await one.sink.flush()
    assert one.held.state is DeliveryState.DONE
