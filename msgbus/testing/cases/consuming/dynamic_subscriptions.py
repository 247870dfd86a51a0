"""Subscriptions that are added and cancelled at run time, while other queues are consumed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import BrokerClosed, WouldDeadlock
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, Probe

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def consume_may_be_called_before_the_start(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = harness.make()
    subscription = await broker.consume(queue, probe)
    async with broker:
        await subscription.ready()
        assert subscription.state == "active"
        await broker.publish(queue, b"x", message_id="m")
        await probe.until_handled(["m"])


async def a_queue_added_at_run_time_disturbs_no_other(harness: Harness) -> None:
    first, second = await harness.queue("g"), await harness.queue("g", word="added")
    one, other = Probe(), Probe()
    broker = await harness.member(first, one)
    ids = await publish_all(broker, first, [Publication(b"x", message_id=f"a{n}", key=str(n)) for n in range(100)])
    await broker.consume(second, other)
    ids += await publish_all(broker, first, [Publication(b"x", message_id=f"b{n}", key=str(n)) for n in range(100)])
    added = await publish_all(broker, second, [Publication(b"x", message_id=f"c{n}") for n in range(20)])
    await one.until_handled(ids)
    await other.until_handled(added)
    await harness.fence(broker, first, one)
    assert one.times(ids) == [1] * len(ids)
    assert other.times(added) == [1] * len(added)
    harness.judge()


async def many_queues_are_dispatched_each_to_its_own_callback(harness: Harness) -> None:
    broker = await harness.broker()
    queues = [harness.name("many") for _ in range(12)]
    probes = [Probe() for _ in queues]
    for queue, probe in zip(queues, probes, strict=True):
        await broker.create_queue(queue, groups=["g"])
        await broker.consume(queue, probe)
    for queue in queues:
        await broker.publish(queue, b"x", message_id=queue)
    for queue, probe in zip(queues, probes, strict=True):
        await probe.until_handled([queue])
        assert probe.ids == [queue]


async def a_callback_may_consume_another_queue(harness: Harness) -> None:
    first, second, probe = await harness.queue("g"), await harness.queue("g", word="inner"), Probe()
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        if message.id == "start":
            await broker.consume(second, probe)

    await broker.consume(first, callback)
    await broker.publish(first, b"x", message_id="start")
    await broker.publish(second, b"x", message_id="inner")
    await probe.until_handled(["inner"])


async def waiting_inside_a_callback_for_what_waits_for_it_is_an_error(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    errors: list[type[BaseException]] = []
    done = asyncio.Event()

    async def callback(_: Message) -> None:
        for call in (subscription.ready, subscription.cancel):
            with pytest.raises(WouldDeadlock) as caught:
                await call()
            errors.append(caught.type)
        done.set()

    subscription = await broker.consume(queue, callback)
    await subscription.ready()
    await broker.publish(queue, b"x")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await done.wait()
    assert errors == [WouldDeadlock, WouldDeadlock]


async def a_cancelled_subscription_gets_nothing_and_others_get_everything(harness: Harness) -> None:
    queue, one, other = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    subscription = await broker.consume(queue, one)
    await subscription.ready()
    await broker.publish(queue, b"x", message_id="first")
    await one.until_handled(["first"])
    await subscription.cancel()
    assert subscription.state == "cancelled"
    with pytest.raises(BrokerClosed):
        await subscription.ready()
    await harness.member(queue, other)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(100)])
    await other.until_handled(ids)
    assert one.ids == ["first"]
    assert "first" not in other.ids
    harness.judge()


async def a_cancelled_queue_can_be_consumed_again(harness: Harness) -> None:
    queue, old, new = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    subscription = await broker.consume(queue, old)
    await subscription.ready()
    await broker.publish(queue, b"x", message_id="old")
    await old.until_handled(["old"])
    cancelling = asyncio.ensure_future(subscription.cancel())
    await asyncio.sleep(0)  # the cancellation has begun and is not carried out yet
    await broker.consume(queue, new)
    await broker.publish(queue, b"x", message_id="new")
    await new.until_handled(["new"])
    await cancelling
    assert old.ids == ["old"]
    assert new.ids == ["new"]


async def cancelling_finishes_what_runs(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    subscription = await broker.consume(queue, probe)
    await subscription.ready()
    probe.hold()
    await broker.publish(queue, b"x", message_id="running")
    await probe.until_entered(1)
    cancelling = asyncio.ensure_future(subscription.cancel())
    await harness.until_draining()
    assert not cancelling.done()
    await probe.release()
    await cancelling
    assert probe.ids == ["running"]
    other = await harness.member(queue, next_member)
    await harness.fence(other, queue, next_member)
    assert "running" not in next_member.ids


async def a_missing_queue_is_waited_for(harness: Harness) -> None:
    queue, there, probe, other = harness.name("missing"), await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    subscription = await broker.consume(queue, probe)
    flowing = await broker.consume(there, other)
    await flowing.ready()
    assert subscription.state == "waiting"
    await broker.publish(there, b"x", message_id="flows")
    await other.until_handled(["flows"])
    await broker.create_queue(queue, groups=["g"])
    await subscription.ready()
    await broker.publish(queue, b"x", message_id="found")
    await probe.until_handled(["found"])
