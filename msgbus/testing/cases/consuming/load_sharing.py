"""Load sharing between the members of a group, the groups of a queue and the queues of a member."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Reject, RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all, until_dead_letters
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus.message import Message
    from msgbus.testing.harness import Harness


def _own(ids: Iterable[str]) -> list[str]:
    return sorted(id for id in ids if not id.startswith("fence"))


async def five_members_share_and_none_is_idle(harness: Harness) -> None:
    queue, probes = await harness.queue("g"), [Probe() for _ in range(5)]
    broker = await harness.broker()
    for probe in probes:
        await harness.member(queue, probe, concurrency=5)
        probe.hold()  # no member can receive everything before the others have received once
    count = harness.size(1000, 10_000)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(count)])
    for probe in probes:
        await probe.until_entered(1)
    for probe in probes:
        await probe.release()
    await harness.until_all_handled(probes, set(ids))
    await harness.fence(broker, queue, *probes)
    assert _own(id for probe in probes for id in probe.ids) == sorted(ids), "each once"
    assert all(probe.handled for probe in probes)
    harness.judge()


async def a_member_that_hangs_keeps_little_from_the_others(harness: Harness) -> None:
    queue, hung, other = await harness.queue("g"), Probe(), Probe()
    hung.hold()
    broker = await harness.member(queue, hung, concurrency=2)
    await harness.member(queue, other, concurrency=2)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(200)])
    await hung.until_entered(1)
    await other.until(lambda: len(other.handled) >= 50, "the other one going on")
    assert len(hung.entered) <= 2
    await hung.release()
    await harness.until_all_handled([hung, other], set(ids))
    await harness.fence(broker, queue, hung, other)
    assert _own(hung.ids + other.ids) == sorted(ids)
    harness.judge()


async def what_was_handled_comes_to_no_member_again(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    broker = await harness.member(queue, first)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(100)])
    await first.until_handled(ids)
    await broker.close()
    other = await harness.member(queue, second)
    await harness.fence(other, queue, second)
    assert _own(second.ids) == []
    await harness.quiesce(other, queue)
    harness.judge()


async def a_group_that_always_fails_costs_another_nothing(harness: Harness) -> None:
    queue, good = await harness.queue("bad", "good"), Probe()

    async def fail(message: Message) -> None:
        raise Reject(f"message {message.id}")

    bad = await harness.broker("bad")
    await bad.consume(queue, fail)
    broker = await harness.member(queue, good, group="good")
    ids = await publish_all(bad, queue, [Publication(b"x", message_id=str(n), key=str(n % 7)) for n in range(100)])
    await good.until_handled(ids)
    await until_dead_letters(bad, queue, 100)
    await harness.fence(broker, queue, good)
    assert good.times(ids) == [1] * 100
    assert {one.attempt for one in good.entered} == {1}
    async with harness.make("good") as looker:
        assert await dead_letters_of(looker, queue) == []
    harness.judge()


async def poisoned_messages_among_many_cost_the_others_nothing(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    count = harness.size(500, 5000)

    async def callback(message: Message) -> None:
        if message.id == "fails":
            raise ValueError("always")
        message.json()
        await probe(message)

    broker = await harness.broker()
    await broker.consume(queue, callback, retry=RetryPolicy(immediate=1, delays=(1.0,)))
    messages = [Publication({"n": n}, message_id=str(n), key=str(n % 20)) for n in range(count)]
    messages[count // 3] = Publication(b"\xff\xfe", message_id="unreadable", key="3")
    messages[count // 2] = Publication({}, message_id="fails", key="5")
    ids = await publish_all(broker, queue, messages)
    good = set(ids) - {"unreadable", "fails"}
    await probe.until_handled(good)
    letters = {letter.message.id: letter for letter in await until_dead_letters(broker, queue, 2)}
    assert {id: letter.attempts for id, letter in letters.items()} == {"unreadable": 1, "fails": 3}
    assert letters["unreadable"].message.body == b"\xff\xfe"
    assert probe.times(good) == [1] * len(good)
    harness.judge()


async def a_hot_queue_leaves_a_cold_one_its_turn(harness: Harness) -> None:
    hot_queue, cold_queue = await harness.queue("g", word="hot"), await harness.queue("g", word="cold")
    hot, cold = Probe(), Probe()
    broker = await harness.broker()
    count = harness.size(2000, 10_000)

    async def work(message: Message) -> None:
        await asyncio.sleep(0.005)  # so that the busy queue is not empty at once
        await hot(message)

    ids = await publish_all(broker, hot_queue, [Publication(b"x", message_id=str(n)) for n in range(count)])
    await broker.consume(cold_queue, cold)
    subscription = await broker.consume(hot_queue, work)
    await subscription.ready()
    await hot.until_entered(1)
    await broker.publish(cold_queue, b"x", message_id="cold")
    await cold.until_handled(["cold"])
    assert len(hot.handled) < count, "it did not wait for the end of the other"
    await hot.until_handled(ids)
    harness.judge()


async def full_hands_for_longer_than_a_read_go_on_when_there_is_room(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.hold()
    broker = await harness.member(queue, probe, concurrency=2)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(100)])
    await probe.until_entered(2)
    asyncio.get_running_loop().call_later(2.5, lambda: asyncio.ensure_future(probe.release()))  # a read waits for 1 s
    await probe.until_handled(ids)
    await harness.fence(broker, queue, probe)
    assert _own(probe.ids) == sorted(ids)


async def a_message_to_an_idle_member_waits_for_no_poll(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    took: list[float] = []
    for n in range(30):
        began = time.monotonic()
        await broker.publish(queue, b"x", message_id=str(n))
        await probe.until_handled([str(n)])
        took.append(time.monotonic() - began)
    harness.say(f"publish to handled, one by one: p50 {median(took) * 1000:.1f} ms, max {max(took) * 1000:.1f} ms")
    assert probe.times(str(n) for n in range(30)) == [1] * 30


async def a_member_holds_no_more_than_its_hands_can_work_on(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.hold()
    broker = await harness.member(queue, probe, concurrency=2)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(100)])
    await probe.until_entered(2)
    await asyncio.sleep(1.2)  # longer than a read: the member would have received more by now
    assert len(probe.entered) == 2
    assert (await broker.lag(queue)).total >= 96, "twice the concurrency at most"
    await probe.release()
    await probe.until_handled(ids)


async def keys_run_side_by_side_and_each_in_its_order(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    ended: list[str] = []

    async def callback(message: Message) -> None:
        await probe(message)
        ended.append(message.id)

    broker = await harness.broker()
    await broker.consume(queue, callback, concurrency=8)
    probe.hold(lambda message: message.id == "a0")
    ids = await publish_all(
        broker, queue, [Publication(b"x", message_id=f"{key}{n}", key=key) for n in range(10) for key in "abcd"]
    )
    await probe.until_handled(id for id in ids if not id.startswith("a"))
    assert [one.id for one in probe.entered if one.key == "a"] == ["a0"], "one at a time of each key"
    await probe.release()
    await probe.until_handled(ids)
    for key in "abcd":
        assert [id for id in ended if id.startswith(key)] == [f"{key}{n}" for n in range(10)]


async def a_message_without_a_key_waits_for_nobody(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.hold(lambda message: message.key == "stuck")
    broker = await harness.member(queue, probe, concurrency=3)
    await broker.publish(queue, b"x", message_id="held", key="stuck")
    await probe.until_entered(1)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(50)])
    await probe.until_handled(ids)
    assert "held" not in probe.ids
    await probe.release()
    await probe.until_handled(["held"])


async def each_callback_of_twenty_queues_sees_its_own_messages_only(harness: Harness) -> None:
    broker = await harness.broker()
    queues = [harness.name("many") for _ in range(20)]
    await asyncio.gather(*(broker.create_queue(queue, groups=["g"]) for queue in queues))
    probes = {queue: Probe() for queue in queues}
    subscriptions = await asyncio.gather(*(broker.consume(queue, probe) for queue, probe in probes.items()))
    await asyncio.gather(*(subscription.ready() for subscription in subscriptions))
    for queue in queues:
        await publish_all(broker, queue, [Publication(queue, message_id=f"{queue}-{n}", key=str(n)) for n in range(10)])
    for queue, probe in probes.items():
        await probe.until_handled(f"{queue}-{n}" for n in range(10))
        assert {one.text for one in probe.handled} == {queue}
        assert len(probe.handled) == 10
