"""Outages: pausing when a dependency of the callback is down, telling that from bad messages, and resuming."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all, until_dead_letters
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.message import Message
    from msgbus.subscription import Subscription
    from msgbus.testing.harness import Harness

QUICK = RetryPolicy(immediate=1, backoff=Backoff(0.05, 0.05), delays=(1.0,), probe_backoff=Backoff(0.5, 1.0))
"""Three attempts within about a second."""


class _Downstream:
    """A callback whose dependency is up or down, and for which some messages are bad."""

    def __init__(self, bad: Callable[[Message], BaseException | None] = lambda _: None) -> None:
        self.on = True
        self.handled: list[Message] = []
        self.failed: list[Message] = []
        self._bad = bad
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        error = self._bad(message) if self.on else ConnectionError("the downstream is off")
        (self.handled if error is None else self.failed).append(message)
        async with self._changed:
            self._changed.notify_all()
        if error is not None:
            raise error

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async with within(DEADLINE_SECONDS, what), self._changed:
            await self._changed.wait_for(condition)

    async def until_handled(self, count: int) -> None:
        await self.until(lambda: len(self.handled) >= count, f"handling {count} messages")

    async def until_failed(self, count: int) -> None:
        await self.until(lambda: len(self.failed) >= count, f"{count} failures")


def _bad(error: type[Exception]) -> Callable[[Message], BaseException | None]:
    """Let messages whose id begins with ``bad`` always fail with ``error``."""
    return lambda message: error(message.id) if message.id.startswith("bad") else None


def _messages(word: str, count: int) -> list[Publication]:
    return [Publication(b"x", message_id=f"{word} {n}") for n in range(count)]


async def _until_paused(subscription: Subscription) -> None:
    async with within(DEADLINE_SECONDS, "pausing"):
        while subscription.state != "paused":  # noqa: ASYNC110 - as the next line says
            await asyncio.sleep(0.01)  # a change of the state is not announced


async def messages_that_always_fail_on_a_quiet_queue_are_all_dead_lettered(harness: Harness) -> None:
    broker = await harness.broker()
    for count in (9, 12, 30):
        queue = await harness.queue("g")
        subscription = await broker.consume(queue, _Downstream(_bad(KeyError)), retry=QUICK)
        await publish_all(broker, queue, _messages("bad", count))
        letters = await until_dead_letters(broker, queue, count)
        assert {letter.attempts for letter in letters} == {3}
        assert subscription.state == "active"
    harness.judge()


async def good_messages_behind_bad_ones_are_handled_before_the_bad_ones_are_given_up(harness: Harness) -> None:
    queue, callback = await harness.queue("g"), _Downstream(_bad(KeyError))
    bad, good = harness.size(30, 5000), harness.size(200, 1000)
    broker = await harness.broker()
    await publish_all(broker, queue, [*_messages("bad", bad), *_messages("good", good)])
    policy = RetryPolicy(immediate=2, delays=(5.0,))
    await broker.consume(queue, callback, retry=policy)
    await callback.until_handled(good)
    assert await dead_letters_of(broker, queue) == [], "each bad one waits for 5 s before its last try"
    assert len(await until_dead_letters(broker, queue, bad)) == bad
    harness.judge()


async def good_messages_behind_such_as_fail_for_a_downstream_are_found_by_probes(harness: Harness) -> None:
    queue, callback = await harness.queue("g"), _Downstream(_bad(ConnectionError))
    bad, good = 30, harness.size(100, 1000)
    broker = await harness.broker()
    await publish_all(broker, queue, [*_messages("bad", bad), *_messages("good", good)])
    await broker.consume(queue, callback, retry=QUICK)
    await callback.until_handled(good)
    assert len(await until_dead_letters(broker, queue, bad)) == bad, "another one succeeded: it is their own fault"
    assert len(callback.handled) == good
    harness.judge()


async def messages_that_fail_for_a_downstream_for_ever_are_dead_lettered_when_patience_is_over(
    harness: Harness,
) -> None:
    queue, callback = await harness.queue("g"), _Downstream()
    callback.on = False
    policy = RetryPolicy(immediate=0, delays=(1.0,), patience=4.0)
    broker = await harness.broker()
    subscription = await broker.consume(queue, callback, retry=policy)
    await publish_all(broker, queue, _messages("m", 12))
    await _until_paused(subscription)
    letters = await until_dead_letters(broker, queue, 12)
    assert {letter.error_type for letter in letters} == {"ConnectionError"}
    assert min(letter.attempts for letter in letters) >= 2, "what was free counts now"
    assert subscription.state == "active"
    callback.on = True
    await broker.publish(queue, b"x", message_id="after")
    await callback.until_handled(1)
    assert len(await dead_letters_of(broker, queue)) == 12
    harness.judge()


async def an_outage_dead_letters_nothing_whatever_members_come_and_go_meanwhile(harness: Harness) -> None:
    queue, callback, count = await harness.queue("g"), _Downstream(), harness.size(60, 2000)
    callback.on = False
    publisher = await harness.broker()
    await publish_all(publisher, queue, _messages("m", count))
    policy = RetryPolicy(immediate=0, delays=(1.0, 1.0), probe_backoff=Backoff(0.5, 1.0))
    first, second = await harness.broker(), await harness.broker()
    for broker in (first, second):
        await (await broker.consume(queue, callback, retry=policy)).ready()
    await callback.until_failed(20)
    await first.close()
    third = await harness.broker()
    await (await third.consume(queue, callback, retry=policy)).ready()
    await callback.until_failed(len(callback.failed) + 20)
    callback.on = True
    await callback.until_handled(count)
    assert await dead_letters_of(publisher, queue) == []
    assert sorted(one.id for one in callback.handled) == sorted(f"m {n}" for n in range(count)), "each once"
    harness.judge()


async def a_drain_of_a_paused_subscription_takes_no_time_and_repeats_nothing(harness: Harness) -> None:
    for policy in (
        RetryPolicy(),
        RetryPolicy(immediate=0, delays=(1.0,)),
        RetryPolicy(immediate=2, delays=(), pause_after=3),
    ):
        queue, callback = await harness.queue("g"), _Downstream()
        broker = await harness.broker(grace=20)
        subscription = await broker.consume(queue, callback, retry=policy)
        await publish_all(broker, queue, _messages("before", 30))
        await callback.until_handled(30)
        callback.on = False
        await publish_all(broker, queue, _messages("m", 30))
        await _until_paused(subscription)
        await callback.until_failed(len(callback.failed) + 1)
        async with within(10, "closing"):
            await broker.close()
        callback.on = True
        other = await harness.broker()
        await (await other.consume(queue, callback)).ready()
        await callback.until_handled(60)
        assert len({one.id for one in callback.handled}) == len(callback.handled) == 60
        assert await dead_letters_of(other, queue) == []
        await other.close()
    harness.judge()


async def a_retry_that_is_due_while_its_subscription_is_paused_keeps_its_time(harness: Harness) -> None:
    off = False

    def fails(message: Message) -> BaseException | None:
        if message.id == "bad":
            return KeyError("customer")
        return ConnectionError("off") if off else None

    queue, callback = await harness.queue("g"), _Downstream(fails)
    broker = await harness.broker()
    policy = RetryPolicy(immediate=0, delays=(2.0,), pause_after=3)
    subscription = await broker.consume(queue, callback, retry=policy)
    await broker.publish(queue, b"x", message_id="bad")
    await callback.until_failed(1)
    off = True
    await publish_all(broker, queue, _messages("m", 10))
    await _until_paused(subscription)
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert (letter.message.id, letter.attempts) == ("bad", 2)
    assert str(subscription.state) == "paused", "what fails otherwise closes nothing"
    off = False
    await callback.until_handled(10)
    harness.judge()


async def a_key_keeps_its_order_through_an_outage_where_the_policy_keeps_it(harness: Harness) -> None:
    queue, callback = await harness.queue("g"), _Downstream()
    callback.on = False
    broker = await harness.broker()
    policy = RetryPolicy(immediate=2, backoff=Backoff(0.05, 0.05), delays=(), pause_after=3, patience=3600)
    subscription = await broker.consume(queue, callback, retry=policy)
    messages = [Publication(b"x", message_id=f"k{key} {n}", key=f"k{key}") for n in range(5) for key in range(6)]
    await publish_all(broker, queue, messages)
    await _until_paused(subscription)
    callback.on = True
    await callback.until_handled(30)
    for key in range(6):
        ids = [one.id for one in callback.handled if one.key == f"k{key}"]
        assert ids == [f"k{key} {n}" for n in range(5)]
    assert await dead_letters_of(broker, queue) == []
    harness.judge()


async def a_queue_that_is_paused_holds_up_no_other(harness: Harness) -> None:
    paused, well = await harness.queue("g"), await harness.queue("g")
    callback, probe = _Downstream(), Probe()
    callback.on = False
    broker = await harness.broker()
    subscription = await broker.consume(paused, callback)
    await broker.consume(well, probe)
    await publish_all(broker, paused, _messages("m", 30))
    await _until_paused(subscription)
    ids = await publish_all(broker, well, _messages("well", 200))
    await probe.until_handled(ids)
    assert subscription.state == "paused"
    callback.on = True
    await callback.until_handled(30)
    harness.judge()


async def what_a_paused_member_has_not_started_is_handled_by_a_member_that_is_well(harness: Harness) -> None:
    if harness.capabilities.partitions:
        return  # a partition stays with its member, and a pause is no reason to move it
    queue, ill, well = await harness.queue("g"), _Downstream(), _Downstream()
    ill.on = False
    first, second = await harness.broker(), await harness.broker()
    policy = RetryPolicy(immediate=0, delays=(1.0,), pause_after=3)
    subscription = await first.consume(queue, ill, retry=policy, concurrency=20)
    await publish_all(first, queue, _messages("m", 40))
    await _until_paused(subscription)
    await second.consume(queue, well, retry=policy)
    await well.until_handled(40)
    assert len(well.handled) == 40, "each once"
    assert await dead_letters_of(first, queue) == []
    harness.judge()
