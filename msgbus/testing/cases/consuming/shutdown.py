"""Shutdown from any state, and what it leaves to the next member."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.errors import BrokerClosed, BrokerUnavailable, PublishUnknown
from msgbus.publishing.publication import Publication
from msgbus.registry import connect
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def a_member_that_waits_for_messages_closes(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.member(queue, Probe())
    async with within(20, "closing while it is idle"):
        await broker.close()


async def a_member_with_full_hands_gives_all_back_in_order(harness: Harness) -> None:
    queue, probe, next_member = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker(grace=0.2)
    probe.hold()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=f"{n:03}", key="k") for n in range(100)])
    await broker.consume(queue, probe, concurrency=2)
    await probe.until_entered(1)
    async with within(20, "closing with full hands"):
        await broker.close()
    await harness.member(queue, next_member)
    await next_member.until_handled(ids)
    assert next_member.ids == ids, "in their order, each once"
    harness.judge()


async def closing_while_a_message_waits_for_its_retry_keeps_the_attempt(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    policy = RetryPolicy(immediate=0, delays=(2.0,), pause_after=None)
    first.fail("m", 1)
    broker = await harness.member(queue, first, retry=policy)
    await broker.publish(queue, b"x", message_id="m")
    await first.until_entered(1)
    async with within(20, "closing during the delay"):
        await broker.close()
    await harness.member(queue, second, retry=policy)
    await second.until_handled(["m"])
    assert [one.attempt for one in (*first.entered, *second.entered)] == [1, 2]


async def closing_during_tries_in_place_keeps_the_message(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    policy = RetryPolicy(immediate=3, backoff=Backoff(30.0, 30.0), delays=(1.0,), pause_after=None)
    first.fail("m", 2)
    broker = await harness.member(queue, first, retry=policy)
    await broker.publish(queue, b"x", message_id="m")
    await first.until_entered(1)
    async with within(20, "closing while it waits 30 s for its next try"):
        await broker.close()
    await harness.member(queue, second, retry=policy)
    await second.until_handled(["m"])
    attempts = [one.attempt for one in (*first.entered, *second.entered)]
    assert attempts == list(range(1, len(attempts) + 1)), "each counted, none twice"


async def a_broker_whose_server_cannot_be_reached_says_so_and_closes(harness: Harness) -> None:
    if not harness.capabilities.durable:
        return await _a_closed_broker_refuses(harness)
    broker = connect(f"{harness.scheme}://127.0.0.1:1", group="g", deadline=1.0)
    async with within(20, "giving up"):
        with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
            await broker.publish("queue", b"x")
        with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
            async with broker:
                pass
    async with within(20, "closing"):
        await broker.close()
    return None


async def _a_closed_broker_refuses(harness: Harness) -> None:
    broker = harness.make()
    await broker.close()
    with pytest.raises(BrokerClosed):
        await broker.publish("queue", b"x")


async def a_broker_that_is_closed_while_it_connects_is_closed(harness: Harness) -> None:
    queue, rounds, loop = await harness.queue("g"), harness.size(20, 200), asyncio.get_running_loop()
    began = loop.time()
    async with harness.make() as broker:
        await (await broker.consume(queue, Probe())).ready()
        took = loop.time() - began
    tasks, files = asyncio.all_tasks(), _open_files()
    for n in range(rounds):
        broker = harness.make()
        await broker.consume(queue, Probe())
        entering = asyncio.ensure_future(broker.__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(took * n / rounds)  # the moment is the case
        async with within(20, "closing while it connects"):
            await broker.close()
            await asyncio.wait({entering})
        assert entering.exception() is None or isinstance(entering.exception(), BrokerClosed)
        with pytest.raises(BrokerClosed):
            await broker.publish(queue, b"x")
    await _nothing_left(tasks, files)


async def a_publish_that_races_with_the_closing_arrives_or_raises(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker, sent, refused = await harness.broker(), set[str](), set[str]()

    async def publish(id: str) -> None:
        try:
            await broker.publish(queue, b"x", message_id=id)
        except (BrokerClosed, BrokerUnavailable):
            refused.add(id)
        except PublishUnknown:
            return
        else:
            sent.add(id)

    publishing = [asyncio.ensure_future(publish(str(n))) for n in range(100)]
    await asyncio.sleep(0)
    await broker.close()
    await asyncio.gather(*publishing)
    other = await harness.member(queue, probe)
    await probe.until_handled(sent)
    await harness.fence(other, queue, probe)
    assert refused.isdisjoint(probe.ids), "what was refused did not come"


async def a_second_start_gets_exactly_what_is_not_acknowledged(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    publisher = await harness.broker()
    async with harness.make() as broker:
        await broker.consume(queue, first)
        before = await publish_all(publisher, queue, [Publication(b"x", message_id=f"b{n}") for n in range(50)])
        await first.until_handled(before)
    after = await publish_all(publisher, queue, [Publication(b"x", message_id=f"a{n}") for n in range(50)])
    await harness.member(queue, second)
    await harness.fence(publisher, queue, second)
    assert sorted(id for id in second.ids if not id.startswith("fence")) == sorted(after)


async def many_rounds_of_entering_and_closing_leave_no_task_and_no_open_file(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    rounds = harness.size(5, 50)

    async def once(n: int) -> None:
        async with harness.make() as broker:
            subscription = await broker.consume(queue, probe)
            await subscription.ready()
            await broker.publish(queue, b"x", message_id=str(n))
            await probe.until_handled([str(n)])

    await once(-1)
    tasks, files = asyncio.all_tasks(), _open_files()
    for n in range(rounds):
        await once(n)
    await _nothing_left(tasks, files)


async def _nothing_left(tasks: set[asyncio.Task[Any]], files: int) -> None:
    """Wait until no other tasks and open files are left than these."""
    left = [task for task in asyncio.all_tasks() - tasks if not task.done()]
    assert left == [], f"tasks that are left: {left}"
    async with within(DEADLINE_SECONDS, f"{files} open files again"):
        while _open_files() > files:  # noqa: ASYNC110 - as the next line says
            await asyncio.sleep(0.05)  # the kernel does not announce it


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208 - counted only


async def run_serves_until_close_and_then_returns(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = harness.make()
    await broker.consume(queue, probe)
    running = asyncio.ensure_future(broker.run())
    async with harness.make() as publisher:
        await publisher.publish(queue, b"x", message_id="m")
        await probe.until_handled(["m"])
    async with within(20, "run() returning after close()"):
        await broker.close()
        await running


async def a_callback_that_runs_while_it_closes_may_still_publish(harness: Harness) -> None:
    queue, target, probe = await harness.queue("g"), await harness.queue("g", word="target"), Probe()
    broker, entered, go_on = await harness.broker(), asyncio.Event(), asyncio.Event()

    async def callback(message: Message) -> None:
        entered.set()
        await go_on.wait()
        await broker.publish(target, message.body, message_id="made while closing")

    await broker.consume(queue, callback)
    await broker.publish(queue, b"x", message_id="m")
    async with within(DEADLINE_SECONDS, "the callback being entered"):
        await entered.wait()
    closing = asyncio.ensure_future(broker.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    await harness.member(target, probe)
    await probe.until_handled(["made while closing"])
