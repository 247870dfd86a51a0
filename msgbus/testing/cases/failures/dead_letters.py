"""Dead letters: reading, redriving and purging them."""

from __future__ import annotations

import asyncio
import io
import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import ConfigurationError, DeadLettersLocked, QueueNotFound
from msgbus.operations.dead_letters import DeadLetterFilter
from msgbus.publishing.publication import Publication
from msgbus.retry import Reject, RetryLater, RetryPolicy
from msgbus.testing.harness import dead_letters_of, publish_all, until_dead_letters
from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.message import Message
    from msgbus.testing.harness import Harness


async def _reject(message: Message) -> None:
    raise Reject(f"told to, {'odd' if int(message.id) % 2 else 'even'}")


async def _dead(harness: Harness, queue: str, count: int) -> Broker:
    """Dead-letter ``count`` messages of ``queue``; return a broker that consumes nothing."""
    broker = await harness.broker()
    subscription = await broker.consume(queue, _reject)
    messages = [Publication(f"body {n}", message_id=str(n), key=str(n % 3)) for n in range(count)]
    await publish_all(broker, queue, messages)
    await until_dead_letters(broker, queue, count)
    await subscription.cancel()
    return broker


async def looking_at_dead_letters_changes_nothing(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await _dead(harness, queue, 250)
    letters = broker.dead_letters(queue)
    first = await dead_letters_of(broker, queue)
    for _ in range(3):
        assert await dead_letters_of(broker, queue) == first
    assert await letters.count() == 250
    odd = [one.message.id async for one in letters.look(DeadLetterFilter(error="odd", key="1"), limit=10)]
    assert odd == [str(n) for n in range(250) if n % 2 and n % 3 == 1][:10]
    file = io.StringIO()
    assert await letters.export(file) == 250
    assert [json.loads(line)["id"] for line in file.getvalue().splitlines()] == [one.message.id for one in first]


async def a_redrive_goes_to_the_failing_group_only_and_adds_up(harness: Harness) -> None:
    queue, other, again = await harness.queue("g", "other"), Probe(), Probe()
    await harness.member(queue, other, group="other")
    broker = await _dead(harness, queue, 300)
    await broker.consume(queue, again)
    account = await broker.dead_letters(queue).redrive()
    assert (account.taken, account.arrived, account.remaining, account.complete) == (300, 300, 0, True)
    ids = [str(n) for n in range(300)]
    await again.until_handled(ids)
    assert again.times(ids) == [1] * 300
    assert {one.attempt for one in again.handled} == {1}
    for key in "012":
        of_key = [int(one.id) for one in again.handled if one.key == key]
        assert of_key == sorted(of_key)
    await harness.fence(broker, queue, other)
    assert other.times(ids) == [1] * 300
    harness.judge()


async def a_tombstone_that_fails_is_a_dead_letter_and_is_redriven_as_a_tombstone(harness: Harness) -> None:
    queue, again = await harness.queue("g"), Probe()
    broker = await harness.broker()
    attempts: list[tuple[int, bool, bytes]] = []

    async def failing(message: Message) -> None:
        attempts.append((message.attempt, message.is_tombstone, message.body))
        raise RetryLater(1.0) if message.attempt == 1 else Reject("told to")

    subscription = await broker.consume(queue, failing)
    await broker.publish(queue, None, message_id="gone", key="customer-4")
    await until_dead_letters(broker, queue, 1)
    await subscription.cancel()
    assert attempts == [(1, True, b""), (2, True, b"")]
    (letter,) = await dead_letters_of(broker, queue)
    assert (letter.message.id, letter.message.key, letter.message.is_tombstone) == ("gone", "customer-4", True)
    await broker.consume(queue, again)
    assert (await broker.dead_letters(queue).redrive()).complete
    await again.until_handled(["gone"])
    (redriven,) = again.handled
    assert (redriven.body, redriven.key, redriven.is_tombstone) == (b"", "customer-4", True)


async def a_part_of_the_dead_letters_is_redriven_or_purged_out_of_the_middle(harness: Harness) -> None:
    queue, again = await harness.queue("g"), Probe()
    broker = await _dead(harness, queue, 40)
    letters = broker.dead_letters(queue)
    before = [one.message.id for one in await dead_letters_of(broker, queue)]
    first = [one for one in before if int(one) % 2 == 0][:5]
    dry = await letters.redrive(DeadLetterFilter(error="even"), dry_run=True)
    assert (dry.taken, dry.arrived, dry.remaining) == (20, 0, 40)
    account = await letters.redrive(DeadLetterFilter(error="even"), limit=5)
    assert (account.taken, account.arrived, account.remaining) == (5, 5, 35)
    assert await letters.purge(DeadLetterFilter(id="21")) == 1
    left = [one for one in before if one not in {*first, "21"}]
    assert [one.message.id for one in await dead_letters_of(broker, queue)] == left
    assert await letters.purge() == 34
    assert await letters.count() == 0
    await broker.consume(queue, again)
    await again.until_handled(first)
    assert sorted(again.ids) == sorted(first)


async def a_redrive_keeps_to_its_rate(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await _dead(harness, queue, 11)
    began = time.monotonic()
    steps: list[int] = []
    account = await broker.dead_letters(queue).redrive(rate=20, progress=steps.append)
    assert time.monotonic() - began >= 0.5
    assert (account.arrived, steps) == (11, [1] * 11)
    with pytest.raises(ConfigurationError, match="rate"):
        await broker.dead_letters(queue).redrive(rate=0)
    with pytest.raises(ConfigurationError, match="batch"):
        await broker.dead_letters(queue).redrive(batch=0)


async def letters_are_found_by_error_key_id_and_time(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await _dead(harness, queue, 12)
    letters = broker.dead_letters(queue)
    every = await dead_letters_of(broker, queue)

    async def found(which: DeadLetterFilter) -> set[str]:
        return {one.message.id async for one in letters.look(which)}

    assert await found(DeadLetterFilter(error="ODD")) == {str(n) for n in range(1, 12, 2)}
    assert await found(DeadLetterFilter(key="1")) == {str(n) for n in range(1, 12, 3)}
    assert await found(DeadLetterFilter(id="7")) == {"7"}
    assert await found(DeadLetterFilter(id=every[3].letter_id)) == {every[3].message.id}
    first, last = every[0].last_failure, every[-1].last_failure
    assert first is not None
    assert last is not None
    assert (
        len(await found(DeadLetterFilter(since=first - timedelta(seconds=1), until=last + timedelta(seconds=1)))) == 12
    )
    assert await found(DeadLetterFilter(since=last + timedelta(seconds=1))) == set()
    assert await found(DeadLetterFilter(until=first - timedelta(seconds=1))) == set()


async def a_redriven_message_that_fails_again_is_a_new_letter(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    await broker.consume(queue, _reject)
    await broker.publish(queue, b"x", message_id="1")
    (first,) = await until_dead_letters(broker, queue, 1)
    await broker.dead_letters(queue).redrive()
    async with within(DEADLINE_SECONDS, "the second letter"):
        while True:
            found = await dead_letters_of(broker, queue)
            if found and found[0].letter_id != first.letter_id:
                break
            await asyncio.sleep(0.05)  # a dead-letter queue does not announce changes
    (second,) = found
    assert (second.message.id, second.redrives, second.attempts) == ("1", 1, 1)
    assert first.last_failure is not None
    assert second.first_failure is not None
    assert second.first_failure >= first.last_failure, "a new life"


async def two_redrives_at_once_do_no_harm(harness: Harness) -> None:
    queue, again = await harness.queue("g"), Probe()
    broker = await _dead(harness, queue, 400)
    other = await harness.broker()
    both = (broker.dead_letters(queue).redrive(), other.dead_letters(queue).redrive())
    accounts = await asyncio.gather(*both, return_exceptions=True)
    assert all(isinstance(one, DeadLettersLocked) or not isinstance(one, BaseException) for one in accounts), accounts
    await broker.dead_letters(queue).redrive()
    await broker.consume(queue, again)
    ids = [str(n) for n in range(400)]
    await again.until_handled(ids)
    assert again.times(ids) == [1] * 400
    harness.judge()


async def a_message_that_fails_after_every_redrive_does_not_grow_and_is_shown_as_looping(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    await broker.consume(queue, _reject, retry=RetryPolicy(traceback=False))
    await broker.publish(queue, b"x", message_id="0", headers={"h": "v"})
    sizes: set[int] = set()
    for n in range(harness.size(10, 50)):
        (letter,) = await until_dead_letters(broker, queue, 1)
        assert letter.redrives == n
        counting = {"msgbus-redrives", "msgbus-origin-position"}  # values that differ between brokers or redrives
        ours = {name: text for name, text in letter.message.system.items() if name not in counting}
        sizes.add(sum(len(name) + len(text) for name, text in ours.items()))
        looping = await broker.dead_letters(queue).redrive()
        if n >= 3:
            assert (letter.looping, looping.skipped, looping.taken) == (True, 1, 0)
            await broker.dead_letters(queue).redrive(looping=True)
    assert len(sizes) == 1


async def dead_letters_of_a_queue_that_does_not_exist_are_a_typed_error(harness: Harness) -> None:
    broker = await harness.broker()
    with pytest.raises(QueueNotFound, match="dlq"):
        await broker.dead_letters(harness.name("missing")).count()
