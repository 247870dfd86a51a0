"""Health for readiness probes: correct, in words, within its time limit, and never an exception."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from msgbus.errors import BrokerClosed
from msgbus.publishing.publication import Publication
from msgbus.registry import connect
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.harness import publish_all, until_health
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def a_broker_that_is_connected_and_consumes_is_ready(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    before = datetime.now(UTC) - timedelta(seconds=1)
    broker = await harness.member(queue, probe)
    await broker.publish(queue, b"x", message_id="m")
    await probe.until_handled(["m"])
    health = await until_health(broker, lambda one: one.ready, "being ready")
    assert (health.connected, health.reasons) == (True, ())
    (mine,) = health.queues
    assert (mine.queue, mine.group, mine.state, mine.reason) == (queue, "g", "active", "")
    assert mine.since is not None
    assert before < mine.since <= health.since <= datetime.now(UTC)
    assert (await broker.health()).since == health.since, "since it became so, not since it was asked"
    assert json.loads(json.dumps(health.as_dict()))["queues"][0]["since"] == mine.since.isoformat()


async def a_broker_that_only_publishes_is_ready_and_need_not_be_started(harness: Harness) -> None:
    broker = harness.make()
    health = await broker.health(within=DEADLINE_SECONDS)
    assert (health.ready, health.connected, health.reasons, health.queues) == (True, True, (), ())
    await broker.consume(harness.name(), Probe())
    health = await broker.health(within=DEADLINE_SECONDS)
    assert (health.ready, health.queues[0].state, health.queues[0].since) == (False, "stopped", None)
    await broker.close()


async def a_broker_that_waits_for_a_queue_is_not_ready_until_it_is_there(harness: Harness) -> None:
    queue = harness.name("late")
    broker = await harness.broker()
    await broker.consume(queue, Probe())
    health = await until_health(
        broker, lambda one: one.queues[0].state == "missing", "saying that the queue is missing"
    )
    assert (health.ready, health.connected) == (False, True)
    assert queue in health.reasons[0]
    await broker.create_queue(queue, groups=["g"])
    health = await until_health(broker, lambda one: one.ready, "being ready")
    assert health.queues[0].state == "active"


async def a_subscription_that_is_paused_shows_with_its_reason(harness: Harness) -> None:
    queue, off = await harness.queue("g"), True
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        if off:
            raise ConnectionError(f"the till is off, says {message.id}")

    policy = RetryPolicy(immediate=0, delays=(1.0,), pause_after=3, probe_backoff=Backoff(0.2, 0.5))
    await (await broker.consume(queue, callback, retry=policy)).ready()
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(10)])
    health = await until_health(broker, lambda one: one.queues[0].state == "paused", "being paused")
    assert health.ready, "what fails is the callback"
    assert "the till is off" in health.queues[0].reason
    assert any(queue in one and "the till is off" in one for one in health.reasons)
    off = False
    health = await until_health(broker, lambda one: one.queues[0].state == "active", "going on")
    assert health.reasons == ()


async def a_broker_that_drains_says_so_and_a_closed_one_is_closed(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    probe.hold()
    await broker.publish(queue, b"x")
    await probe.until_entered(1)
    closing = asyncio.ensure_future(broker.close())
    await harness.until_draining()
    health = await broker.health()
    assert (health.ready, health.queues[0].state) == (False, "draining")
    await probe.release()
    await closing
    health = await broker.health()
    assert (health.ready, health.connected, health.queues[0].state) == (False, False, "stopped")
    assert health.reasons[0] == "the broker is closed"


async def a_server_that_cannot_be_reached_is_told_in_words_within_the_time(harness: Harness) -> None:
    if not harness.capabilities.durable:
        return await _a_member_that_was_cut_off_is_told(harness)
    broker = connect(f"{harness.scheme}://127.0.0.1:1", group="g")
    async with within(1.5, "an answer"):
        first = await broker.health(within=1.0)
    last = await until_health(broker, lambda one: "127.0.0.1:1" in one.reasons[0], "naming the server")
    assert (last.ready, last.connected, last.since) == (False, False, first.since)
    await broker.close()
    return None


async def _a_member_that_was_cut_off_is_told(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.member(queue, Probe())
    await until_health(broker, lambda one: one.ready, "being ready")
    cast("Any", broker).watched.inner.sever()  # a harness makes RecordedBroker objects
    health = await until_health(broker, lambda one: not one.connected, "being cut off")
    assert not health.ready
    assert "severed" in health.reasons[0]


async def a_server_that_is_examined_says_what_it_is_and_what_is_found_has_words(harness: Harness) -> None:
    broker = harness.make()
    checkup = await broker.diagnose()
    assert checkup.server
    assert all(one.what for one in checkup.findings)
    assert checkup.passed, f"fit to be tested on: {checkup}"
    await broker.close()
    with pytest.raises(BrokerClosed):
        await broker.diagnose()
