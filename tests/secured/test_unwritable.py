"""A retry queue or dead-letter queue that cannot be written: nothing is acknowledged, and the neighbours flow.

Not provoked: a retry queue of RabbitMQ's. It is empty as long as its group consumes, so no limit makes it full, and
rights are those of an exchange, which it shares with all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from msgbus.broker import Publication
from msgbus.retry import RetryPolicy
from msgbus.testing.harness import Harness, letters_of, publish_all, until_letters
from msgbus.testing.probe import Probe, within
from tests.secured.unwritable import PLACES, Place, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msgbus.broker import Broker
    from msgbus.subscription import Subscription

BAD = [f"bad-{n}" for n in range(7)]
GOOD = [f"good-{n}" for n in range(40)]
POLICIES = {
    "dlq": RetryPolicy(in_place=0, delays=(), pause_after=None),
    "retry.1s": RetryPolicy(in_place=0, delays=(1.0,), pause_after=None),
}


NAMES = ("memory", *PLACES)
NEVER = ("rabbitmq", "retry.1s")


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[str], Place]]:
    with ExitStack() as stack:
        made: dict[str, Place] = {}

        def get(name: str) -> Place:
            if name not in made:
                made[name] = stack.enter_context(contextmanager(place)(name))
            return made[name]

        yield get


async def until_noticed(subscription: Subscription) -> None:
    async with within(45, "noticing that it cannot be written"):
        while not subscription.counts.outages:
            await asyncio.sleep(0.02)


async def consuming(broker: Broker, queue: str, probe: Probe, part: str) -> Subscription:
    subscription = await broker.consume(queue, probe, retry=POLICIES[part])
    await subscription.ready()
    return subscription


def outages_logged(caplog: pytest.LogCaptureFixture) -> int:
    return sum("cannot be written" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for name in NAMES for part in POLICIES if (name, part) != NEVER]
)
async def test_what_failed_waits_unacknowledged_while_others_flow_and_goes_there_once_in_the_end(
    places: Callable[[str], Place], name: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "msgbus")
    server = places(name)
    async with Harness(server.url) as harness:
        queue, first, second = await harness.queue("g"), Probe(), Probe()
        for probe in (first, second):
            for id in BAD:
                probe.fail(id, 10)
        publisher = await harness.broker()
        try:
            async with server.broker() as broker:
                subscription = await consuming(broker, queue, first, part)
                server.deny(queue, part)
                for n, id in enumerate(BAD):
                    await publisher.publish(queue, b"x", message_id=id, key=id)
                    await first.until_entered(n + 1)
                await until_noticed(subscription)
                await publish_all(publisher, queue, [Publication(b"x", message_id=id, key=id) for id in GOOD])
                await first.until_handled(GOOD)
            assert outages_logged(caplog) == 1
            # RabbitMQ takes the first, and says then that it is full.
            there = {one.message.id for one in await letters_of(publisher, queue)}
            assert len(there) <= (1 if name == "rabbitmq" else 0)
            async with server.broker() as broker:
                subscription = await consuming(broker, queue, second, part)
                await second.until(lambda: {one.id for one in second.entered} >= set(BAD) - there, "the others again")
                await until_noticed(subscription)
                server.allow()
                letters = await until_letters(publisher, queue, len(BAD))
                await harness.fence(publisher, queue, second)
                assert outages_logged(caplog) == 2
        finally:
            server.allow()
        letters = await until_letters(publisher, queue, len(BAD))
        assert sorted(letter.message.id for letter in letters) == BAD, "one of each"
        assert {letter.attempts for letter in letters} == {len(POLICIES[part].delays) + 1}
        calls = Counter(one.id for one in first.entered)
        assert {calls[id] for id in BAD} == {1}


async def test_the_letters_of_a_full_queue_can_be_looked_at_and_sent_back(places: Callable[[str], Place]) -> None:
    server, probe = places("rabbitmq"), Probe()
    for id in BAD:
        probe.fail(id, 1)
    async with Harness(server.url) as harness:
        queue = await harness.queue("g")
        async with harness.make() as broker:
            await broker.consume(queue, probe, retry=POLICIES["dlq"])
            await publish_all(broker, queue, [Publication(b"x", message_id=id) for id in BAD])
            await until_letters(broker, queue, len(BAD))
        server.deny(queue, "dlq")
        operator = await harness.broker()
        for _ in range(3):
            looked = [one.message.id async for one in operator.dead_letters(queue).look()]
            assert sorted(looked) == BAD
        account = await operator.dead_letters(queue).redrive()
        assert (account.taken, account.arrived, account.left) == (7, 7, 0)
        server.allow()
        assert await operator.dead_letters(queue).count() == 0
