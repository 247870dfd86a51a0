"""Retries: how often a callback is called, when, and in which member."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, RetryLater, RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all, until_dead_letters
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.message import Message
    from msgbus.testing.harness import Harness

FRESH = 20
"""Number of messages whose delays are measured, one after another."""
QUICK = RetryPolicy(immediate=1, backoff=Backoff(0.01, 0.01), delays=(1.0, 1.0), pause_after=None)
"""Four attempts within two seconds."""


async def every_message_is_called_exactly_as_often_as_it_should_be(harness: Harness) -> None:
    queue = await harness.queue("g", "other")
    chance = random.Random(4)
    failing = {str(n): chance.randint(1, 6) for n in chance.sample(range(1000), 100)}
    probes = [Probe() for _ in range(4)]
    other = Probe()
    for probe in probes:
        for id, times in failing.items():
            probe.fail(id, times)
        await harness.member(queue, probe, retry=QUICK)
    await harness.member(queue, other, group="other")
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n % 50)) for n in range(1000)])
    given_up = {id for id, times in failing.items() if times >= 4}
    letters = await until_dead_letters(broker, queue, len(given_up))
    await harness.until_all_handled(probes, set(ids) - given_up)
    calls = Counter(one.id for probe in probes for one in probe.entered)
    assert calls == {id: min(failing.get(id, 0) + 1, 4) for id in ids}
    failed = [sum(one.attempt <= failing.get(one.id, 0) for one in probe.entered) for probe in probes]
    assert sum(count > 0 for count in failed) >= 3, f"failures of each member: {failed}"
    assert Counter(letter.message.id for letter in letters) == dict.fromkeys(given_up, 1)
    await other.until_handled(ids)
    assert other.times(ids) == [1] * 1000
    assert {one.attempt for one in other.entered} == {1}
    harness.judge()


async def a_delayed_retry_is_never_early(harness: Harness) -> None:
    queue, calls, done = await harness.queue("g"), dict[str, list[float]](), asyncio.Event()
    count = harness.size(100, 1000)

    async def callback(message: Message) -> None:
        calls.setdefault(message.id, []).append(time.time())
        if message.attempt == 1:
            raise RetryLater(1.2)
        if sum(len(times) for times in calls.values()) == 2 * count:
            done.set()

    broker = await harness.broker()
    await broker.consume(queue, callback)
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(count)])
    async with within(DEADLINE_SECONDS, "all retries"):
        await done.wait()
    late = sorted(second - first - 1.2 for first, second in calls.values())
    assert late[0] >= -0.002, "times are kept to the millisecond"
    harness.say(f"lateness of {count:,} retries: p50 {_ms(late[count // 2])}, p99 {_ms(late[count * 99 // 100])}")


async def a_callback_that_asks_for_later_is_called_later_and_counted(harness: Harness) -> None:
    queue, calls, done = await harness.queue("g"), list[tuple[int, float]](), asyncio.Event()

    async def callback(message: Message) -> None:
        calls.append((message.attempt, time.time()))
        if message.attempt < 3:
            raise RetryLater(0.5 * message.attempt)
        done.set()

    broker = await harness.broker()
    await broker.consume(queue, callback, retry=RetryPolicy(immediate=0, delays=()))
    await broker.publish(queue, b"x", message_id="m")
    async with within(DEADLINE_SECONDS, "three calls"):
        await done.wait()
    assert [attempt for attempt, _ in calls] == [1, 2, 3]
    waits = [later - earlier for (_, earlier), (_, later) in pairwise(calls)]
    assert waits[0] >= 0.498
    assert waits[1] >= 0.998


async def messages_that_wait_for_a_retry_hold_up_no_fresh_one(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    count = harness.size(1200, 10_000)  # more than a member holds of a queue
    broker = await harness.member(queue, probe)
    alone = [await _latency(broker, queue, probe, f"alone{n}") for n in range(FRESH)]
    beside: list[float] = []
    waiting: list[str] = []
    due = 0.0
    for delay in (harness.size(8, 40), 60):  # a slow machine gets a longer delay
        due = time.time() + delay
        messages = [
            Publication(b"x", message_id=f"w{delay}-{n}", key=str(n % 9), delay=float(delay)) for n in range(count)
        ]
        waiting += await publish_all(broker, queue, messages)
        await harness.fence(broker, queue, probe)
        beside = [await _latency(broker, queue, probe, f"fresh{delay}-{n}") for n in range(FRESH)]
        if time.time() < due:
            break
    assert time.time() < due
    assert not any(id.startswith(waiting[-1].partition("-")[0]) for id in probe.ids)
    harness.say(
        f"a fresh message beside {count:,} that wait: p50 {_ms(median(beside))}; without them {_ms(median(alone))}"
    )
    await asyncio.sleep(max(due - time.time(), 0.0))  # wait until they are due; only then the deadline begins
    await probe.until_handled(waiting)
    assert probe.times(waiting) == [1] * len(waiting)


async def _latency(broker: Broker, queue: str, probe: Probe, id: str) -> float:
    began = time.monotonic()
    await broker.publish(queue, b"x", message_id=id, key="1")
    await probe.until_handled([id])
    return time.monotonic() - began


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


async def the_count_of_attempts_goes_on_in_another_member(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    policy = RetryPolicy(immediate=0, delays=(2.0, 1.0), pause_after=None)
    for probe in (first, second):
        probe.fail("bad", 100)
    broker = await harness.member(queue, first, retry=policy)
    await broker.publish(queue, b"x", message_id="bad")
    await first.until_entered(1)
    await broker.close()
    other = await harness.member(queue, second, retry=policy)
    (letter,) = await until_dead_letters(other, queue, 1)
    assert letter.attempts == 3
    assert [one.attempt for one in (*first.entered, *second.entered)] == [1, 2, 3]


async def a_stop_while_messages_are_tried_again_loses_and_repeats_nothing(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    policy = RetryPolicy(immediate=1, backoff=Backoff(20.0, 20.0), delays=(1.0,), pause_after=None)
    for n in range(0, 40, 4):
        first.fail(str(n), 1)
        second.fail(str(n), 1)
    broker = await harness.member(queue, first, retry=policy)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(40)])
    await first.until(lambda: len({one.id for one in first.entered}) == 40, "all being tried")
    await broker.close()
    await harness.member(queue, second, retry=policy)
    await harness.until_all_handled([first, second], set(ids))
    calls = Counter(one.id for probe in (first, second) for one in probe.entered)
    assert calls == {str(n): 2 if n % 4 == 0 else 1 for n in range(40)}
    harness.judge()


async def a_policy_that_changes_between_two_deploys_strands_nothing(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    first.fail("bad", 100)
    broker = await harness.member(queue, first, retry=RetryPolicy(immediate=0, delays=(3.0,)))
    await broker.publish(queue, b"x", message_id="bad")
    await first.until_entered(1)
    await broker.close()
    await harness.member(queue, second, retry=RetryPolicy(immediate=5, delays=()))
    await second.until_handled(["bad"])
    assert [one.attempt for one in second.entered] == [2]


async def an_outage_pauses_a_subscription_and_costs_no_attempt(harness: Harness) -> None:
    queue, handled, off = await harness.queue("g"), set[str](), True
    broker = await harness.broker()
    done = asyncio.Event()
    attempts = Counter[int]()

    async def callback(message: Message) -> None:
        await asyncio.sleep(0)
        if off:
            raise ConnectionError("the downstream is off")
        attempts[message.attempt] += 1
        handled.add(message.id)
        if len(handled) == 1000:
            done.set()

    policy = RetryPolicy(immediate=0, delays=(1.0, 1.0), probe_backoff=Backoff(0.2, 0.5))
    subscription = await broker.consume(queue, callback, retry=policy, concurrency=100)
    await subscription.ready()
    await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(1000)])
    async with within(DEADLINE_SECONDS, "pausing"):
        while subscription.state != "paused":  # noqa: ASYNC110 - as the next line says
            await asyncio.sleep(0.01)  # a change of the state is not announced
    assert subscription.counts.retried < 20
    harness.say(f"sent to retry queues before the pause: {subscription.counts.retried} of 1,000")
    off = False
    async with within(DEADLINE_SECONDS, "handling all after the outage"):
        await done.wait()
    assert str(subscription.state) == "active"
    assert await dead_letters_of(broker, queue) == []
    assert attempts[1] >= 980
