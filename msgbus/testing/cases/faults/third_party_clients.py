"""Third-party clients, operators, and servers that refuse publishes.

Each case needs something of ``harness.faults``, and asks for it first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgbus.adapter.address import Address
from msgbus.failure.retry_queues import DLQ_PART, SHORTEST_TIER
from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all, until_dead_letters, until_health
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within
from msgbus.testing.verification import EventWriter

if TYPE_CHECKING:
    from collections.abc import Generator

    from msgbus.broker import Broker
    from msgbus.health import Health
    from msgbus.message import Message
    from msgbus.subscription import Subscription
    from msgbus.testing.harness import Harness

BAD = [f"bad-{n}" for n in range(7)]
GOOD = [f"good-{n}" for n in range(40)]
NONSENSE = {
    "msgbus-attempts": b"\xff",
    "msgbus-time": b"soon",
    "msgbus-not-before": b"never",
    "msgbus-hop": b"-1",
    "msgbus-redrives": b"",
    "msgbus-first-failure": b"9" * 50,
    "content-type": b"\x00;;",
}


async def bytes_of_another_client_that_cannot_be_read_are_dead_lettered_as_they_were(harness: Harness) -> None:
    queue, broker = await harness.queue("g"), await harness.broker()
    read: list[Message] = []
    body, done = b"\xff{" + bytes(range(256)), asyncio.Event()
    await harness.faults.inject(Address(queue), body, {"colour": b"gr\xfcn"})

    async def callback(message: Message) -> None:
        message.json()
        read.append(message)
        done.set()

    await broker.consume(queue, callback)
    await broker.publish(queue, {"n": 1}, message_id="readable")
    async with within(DEADLINE_SECONDS, "what comes behind it"):
        await done.wait()
    assert [one.id for one in read] == ["readable"]
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert (letter.message.body, dict(letter.message.headers)) == (body, {"colour": "gr\udcfcn"})
    assert letter.reason.startswith("invalid payload: the body is not JSON")
    assert letter.attempts == 1


async def nonsense_in_our_headers_does_no_harm(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    await harness.faults.inject(Address(queue), b"foreign", NONSENSE)
    broker = await harness.member(queue, probe)
    await harness.fence(broker, queue, probe)
    (one,) = (one for one in probe.handled if one.body == b"foreign")
    assert (one.attempt, dict(one.headers)) == (1, {})
    assert one.published_at.year < 9999
    assert await dead_letters_of(broker, queue) == []


async def a_message_with_nonsense_in_our_headers_is_tried_again_and_given_up_like_any_other(harness: Harness) -> None:
    queue, attempts = await harness.queue("g"), list[int]()
    await harness.faults.inject(Address(queue), b"foreign", NONSENSE)
    broker = await harness.broker()

    async def callback(message: Message) -> None:
        attempts.append(message.attempt)
        raise ValueError("mine")

    await broker.consume(queue, callback, retry=RetryPolicy(immediate=0, delays=(1.0,), pause_after=None))
    (letter,) = await until_dead_letters(broker, queue, 1)
    assert (attempts, letter.attempts, letter.message.body) == ([1, 2], 2, b"foreign")


async def a_server_that_is_restarted_loses_nothing_and_nothing_in_hand(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    probe.hold(lambda message: not message.id.startswith("fence"))
    broker = await harness.member(queue, probe)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n)) for n in range(40)])
    await probe.until_entered(10)
    try:
        with EventWriter("harness", harness.events.append).fault("restarted"):
            await harness.faults.restart()
    finally:
        await probe.release()
    await probe.until_handled(ids)
    await harness.fence(broker, queue, probe)
    assert {one.attempt for one in probe.entered} == {1}, "a restart is no failure of the message"
    harness.judge()


async def a_server_that_goes_away_is_told_and_so_is_its_return(harness: Harness) -> None:
    queue, told = await harness.queue("g"), list["Health"]()
    broker = await harness.member(queue, Probe())
    await until_health(broker, lambda one: one.ready, "being ready")
    restarting = asyncio.ensure_future(harness.faults.restart())
    while not restarting.done():
        told.append(await broker.health(within=0.5))
        await asyncio.sleep(0.01)  # health does not announce changes
    await restarting
    away = [one for one in told if not one.connected]
    assert away, f"not seen in {len(told)} answers"
    assert not any(one.ready for one in away)
    assert all(one.reasons for one in away)
    back = await until_health(broker, lambda one: one.ready, "being ready again")
    assert (back.connected, back.reasons) == (True, ())
    assert back.since > away[0].since


async def what_cannot_be_dead_lettered_waits_unacknowledged_while_others_flow(harness: Harness) -> None:
    await _wait_unacknowledged(harness, DLQ_PART, RetryPolicy(immediate=0, delays=(), pause_after=None))


async def what_cannot_be_sent_to_its_retry_queue_waits_unacknowledged_while_others_flow(harness: Harness) -> None:
    await _wait_unacknowledged(harness, SHORTEST_TIER, RetryPolicy(immediate=0, delays=(1.0,), pause_after=None))


async def _wait_unacknowledged(harness: Harness, part: str, policy: RetryPolicy) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    for probe in (first, second):
        for id in BAD:
            probe.fail(id, 10)
    publisher = await harness.broker()
    async with harness.make() as broker:
        subscription = await _consuming(broker, queue, first, policy)
        with _outages_logged() as logged:
            async with harness.faults.unwritable(Address(queue, "g", part)):
                for n, id in enumerate(BAD):
                    await publisher.publish(queue, b"x", message_id=id, key=id)
                    await first.until_entered(n + 1)
                await _until_noticed(subscription)
                await publish_all(publisher, queue, [Publication(b"x", message_id=id, key=id) for id in GOOD])
                await first.until_handled(GOOD)
                await broker.close()
                assert len(logged) == 1, "one line says when it begins"
                there = {one.message.id for one in await dead_letters_of(publisher, queue)}
                assert len(there) <= 1
                subscription = await _consuming(await harness.broker(), queue, second, policy)
                await second.until(lambda: {one.id for one in second.entered} >= set(BAD) - there, "the others again")
                await _until_noticed(subscription)
            await until_dead_letters(publisher, queue, len(BAD))
            await harness.fence(publisher, queue, second)
            assert len(logged) == 2
    letters = await until_dead_letters(publisher, queue, len(BAD))
    assert sorted(letter.message.id for letter in letters) == BAD, "one of each"
    assert {letter.attempts for letter in letters} == {len(policy.delays) + 1}
    calls = Counter(one.id for one in first.entered)
    assert {calls[id] for id in BAD} == {1}


async def _consuming(broker: Broker, queue: str, probe: Probe, policy: RetryPolicy) -> Subscription:
    subscription = await broker.consume(queue, probe, retry=policy)
    await subscription.ready()
    return subscription


async def _until_noticed(subscription: Subscription) -> None:
    async with within(DEADLINE_SECONDS, "noticing that it cannot be written"):
        while not subscription.counts.outages:  # noqa: ASYNC110 - as the next line says
            await asyncio.sleep(0.02)  # a count does not announce changes


@contextmanager
def _outages_logged() -> Generator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage()) if "cannot be written" in record.msg else None  # type: ignore[method-assign]
    logger = logging.getLogger("msgbus")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
