"""Ordering: order per key, concurrency, and the order after failures of callbacks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, Probe

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def messages_of_one_key_are_handled_one_at_a_time_in_order(harness: Harness) -> None:
    queue = await harness.queue("g")
    running: set[str] = set()
    order: dict[str, list[int]] = defaultdict(list)
    most, total = 0, 0
    done = asyncio.Event()

    async def callback(message: Message) -> None:
        nonlocal most, total
        key = str(message.key)
        assert key not in running
        running.add(key)
        most = max(most, len(running))
        for _ in range(int(message.text) % 5):
            await asyncio.sleep(0)  # lets other tasks run
        running.discard(key)
        order[key].append(int(message.text))
        total += 1
        if total == 400:
            done.set()

    broker = await harness.broker()
    await publish_all(broker, queue, [Publication(str(n), message_id=str(n), key=f"k{n % 16}") for n in range(400)])
    await broker.consume(queue, callback, concurrency=8)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await done.wait()
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert len(order) == 16
    assert 2 <= most <= 8


async def concurrency_is_reached_and_never_exceeded(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.hold()
    broker = await harness.member(queue, probe, concurrency=4)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(60)])
    await probe.until(lambda: probe.running == 4, "four at once")
    await probe.release()
    await probe.until_handled(ids)
    assert probe.most_running == 4


async def a_message_whose_callback_raises_is_tried_again_until_it_succeeds(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("bad", 3)
    broker = await harness.member(queue, probe, retry=RetryPolicy(immediate=1, delays=(1.0, 1.0)))
    await broker.publish(queue, b"kept", message_id="bad", key="k", headers={"h": "v"})
    await probe.until_handled(["bad"])
    tries = [one for one in probe.entered if one.id == "bad"]
    assert [one.attempt for one in tries] == [1, 2, 3, 4]
    assert {(one.body, one.key, one.headers["h"], one.published_at) for one in tries} == {
        (b"kept", "k", "v", tries[0].published_at)
    }


async def a_failing_message_holds_up_only_its_own_key(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.fail("bad", 4)
    broker = await harness.member(queue, probe, concurrency=2, retry=RetryPolicy(immediate=10, delays=()))
    behind = [Publication(b"x", message_id=f"behind-{n}", key="k") for n in range(3)]
    others = [Publication(b"x", message_id=f"other-{n}", key=f"k{n}") for n in range(30)]
    await publish_all(broker, queue, [Publication(b"x", message_id="bad", key="k"), *behind, *others])
    await probe.until_handled([*(str(one.message_id) for one in others)])
    assert "bad" not in probe.ids
    await probe.until_handled(["bad", *(str(one.message_id) for one in behind)])
    assert [id for id in probe.ids if not id.startswith("other")] == ["bad", "behind-0", "behind-1", "behind-2"]


async def a_cancelled_error_of_the_callbacks_own_is_a_failure(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    attempts: list[int] = []

    async def callback(message: Message) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1:
            raise asyncio.CancelledError
        await probe(message)

    broker = await harness.broker()
    await broker.consume(queue, callback)
    await broker.publish(queue, b"x", message_id="m")
    await probe.until_handled(["m"])
    assert attempts == [1, 2]


async def a_slow_queue_holds_up_no_other(harness: Harness) -> None:
    slow_queue, quick_queue = await harness.queue("g", word="slow"), await harness.queue("g", word="quick")
    slow, quick = Probe(), Probe()
    slow.hold()
    broker = await harness.member(slow_queue, slow)
    subscription = await broker.consume(quick_queue, quick)
    await subscription.ready()
    slow_ids = await publish_all(broker, slow_queue, [Publication(b"x", message_id=f"s{n}") for n in range(100)])
    await slow.until(lambda: slow.running == 10, "the slow queue being full")
    quick_ids = await publish_all(broker, quick_queue, [Publication(b"x", message_id=f"q{n}") for n in range(100)])
    await quick.until_handled(quick_ids)
    assert not slow.handled
    await slow.release()
    await slow.until_handled(slow_ids)
    harness.judge()


async def callbacks_may_publish(harness: Harness) -> None:
    source, target, probe = await harness.queue("g"), await harness.queue("g", word="target"), Probe()
    broker = await harness.member(target, probe)

    async def pipeline(message: Message) -> None:
        await broker.publish(target, message.body, message_id=f"from-{message.id}", key=message.key)

    await broker.consume(source, pipeline)
    ids = await publish_all(broker, source, [Publication(b"x", message_id=str(n), key=str(n % 3)) for n in range(50)])
    await probe.until_handled(f"from-{id}" for id in ids)
    assert probe.times(f"from-{id}" for id in ids) == [1] * 50
