"""Lifecycle of a broker: starting, closing, and starting again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import BrokerClosed
from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe, within

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def creating_a_queue_again_keeps_its_messages(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.broker()
    await broker.publish(queue, b"x", message_id="kept")
    await asyncio.gather(*(broker.create_queue(queue, groups=["g"]) for _ in range(5)))
    await broker.consume(queue, probe)
    await probe.until_handled(["kept"])


async def a_created_queue_is_there_for_every_client(harness: Harness) -> None:
    maker, user = await harness.broker(), await harness.broker()
    for _ in range(5):
        queue = harness.name("fresh")
        await maker.create_queue(queue, groups=["g"])
        await user.publish(queue, b"x")


async def closing_finishes_what_runs_and_gives_back_the_rest(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(60)])
    probe.hold()
    await broker.consume(queue, probe, concurrency=5)
    await probe.until(lambda: probe.running == 5, "five at once")
    closing = asyncio.ensure_future(broker.close())
    await harness.until_draining()
    assert not closing.done()
    await probe.release()
    await closing
    assert not probe.cancelled
    other = await harness.member(queue, next_member)
    await next_member.until(lambda: set(ids) <= {*probe.ids, *next_member.ids}, "all messages")
    await harness.fence(other, queue, next_member)
    handled = [id for id in probe.ids + next_member.ids if not id.startswith("fence")]
    assert sorted(handled) == sorted(ids), "each once: a graceful close causes no duplicate"
    assert {one.attempt for one in next_member.handled} == {1}
    harness.judge()


async def what_does_not_end_within_the_grace_comes_back(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker(grace=0.2)
    probe.hold()
    await broker.consume(queue, probe)
    await broker.publish(queue, b"x", message_id="hangs")
    await probe.until_entered(1)
    async with within(15, "closing with a callback that hangs"):
        await broker.close()
    assert probe.cancelled == 1
    await harness.member(queue, next_member)
    await next_member.until_handled(["hangs"])
    assert next_member.handled[0].attempt == 1, "a shutdown is no failure"


async def a_message_that_waits_for_its_next_try_goes_to_the_next_member(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    probe.fail("bad", 1_000_000)
    await broker.consume(queue, probe, retry=RetryPolicy(immediate=1000, delays=()))
    await broker.publish(queue, b"x", message_id="bad", key="k")
    await broker.publish(queue, b"x", message_id="behind", key="k")
    await probe.until_entered(2)
    async with within(15, "closing with a message that always fails"):
        await broker.close()
    assert probe.ids == []
    await harness.member(queue, next_member)
    await next_member.until_handled(["bad", "behind"])
    assert [id for id in next_member.ids if not id.startswith("fence")] == ["bad", "behind"]


async def many_rounds_of_leaving_and_joining_lose_and_repeat_nothing(harness: Harness) -> None:
    queue = await harness.queue("g")
    publisher = await harness.broker()
    handled: list[str] = []
    published: list[str] = []
    steady = Probe()
    await harness.member(queue, steady)
    for turn in range(4):
        probe = Probe()
        batch = [Publication(b"x", message_id=f"{turn}-{n}", key=f"k{n % 20}") for n in range(50)]
        async with harness.make() as member:
            subscription = await member.consume(queue, probe, concurrency=5)
            await subscription.ready()
            published += await publish_all(publisher, queue, batch)
        handled += probe.ids
    await steady.until(lambda: set(published) <= {*steady.ids, *handled}, "all messages")
    await harness.fence(publisher, queue, steady)
    together = [id for id in steady.ids + handled if not id.startswith("fence")]
    assert sorted(together) == sorted(published)
    harness.judge()


async def a_broker_can_be_entered_again(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = harness.make()
    subscription = await broker.consume(queue, probe)
    async with broker:
        await subscription.ready()
        await broker.publish(queue, b"x", message_id="first")
        await probe.until_handled(["first"])
    async with broker:
        await subscription.ready()
        await broker.publish(queue, b"x", message_id="second")
        await probe.until_handled(["second"])
    assert probe.ids == ["first", "second"]


async def close_is_idempotent_and_afterwards_everything_says_so(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    await broker.consume(queue, Probe())
    await asyncio.gather(*(broker.close() for _ in range(10)))
    await broker.close()
    with pytest.raises(BrokerClosed):
        await broker.publish(queue, b"x")
    with pytest.raises(BrokerClosed):
        await broker.consume(harness.name(), Probe())
    with pytest.raises(BrokerClosed):
        await broker.create_queue(queue)


async def close_may_be_called_inside_a_callback(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        await broker.close()
        await probe(message)

    await broker.consume(queue, callback)
    await broker.publish(queue, b"x", message_id="last")
    await probe.until_handled(["last"])
    await broker.close()
    other = await harness.member(queue, next_member)
    await harness.fence(other, queue, next_member)
    assert "last" not in next_member.ids, "it was acknowledged"


async def ready_ends_when_the_broker_closes(harness: Harness) -> None:
    broker = await harness.broker()
    subscription = await broker.consume(harness.name("never"), Probe())
    waiting = asyncio.ensure_future(subscription.ready())
    await asyncio.sleep(0)
    await broker.close()
    with pytest.raises(BrokerClosed):
        await waiting


async def nothing_is_left_behind_after_close(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    before = asyncio.all_tasks()
    async with harness.make() as broker:
        await broker.consume(queue, probe)
        await broker.publish(queue, b"x", message_id="m")
        await probe.until_handled(["m"])
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert left == []
