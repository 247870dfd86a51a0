"""A member or a redrive is killed at each point between publishing and acknowledging: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import DeadLettersLocked
from msgbus.operations.dead_letters import DeadLetterFilter
from msgbus.publishing.publication import Publication
from msgbus.retry import Reject
from msgbus.testing.harness import Harness, dead_letters_of, publish_all, until_dead_letters
from msgbus.testing.probe import Probe, within
from tests.support.paths import ROOT
from tests.support.processes.killed_at_point import BAD, POLICY, REDRIVING, SETTLING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.broker import Broker
    from msgbus.message import Message
    from tests.support.servers.server import Server

SOONER = {"redis": "?visibility=2", "rabbitmq": "", "kafka": "?session_timeout=6"}
GOOD = [f"good-{n}" for n in range(20)]
LETTERS = int(os.environ.get("MSGBUS_TEST_LETTERS", "500"))
"""Dead letters of the redrive that is killed twice."""
brokers = pytest.mark.parametrize("name", list(SOONER))


@asynccontextmanager
async def killing_itself(url: str, queue: str, point: str, n: int = 1) -> AsyncIterator[asyncio.StreamReader]:
    """What the process prints; at the end it has killed itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.processes.killed_at_point", url, queue, point, str(n)),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        async with within(60, f"being killed {point}"):
            await process.communicate()
        assert process.returncode == -9
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def killed(url: str, queue: str, point: str, n: int) -> None:
    """Run the process until it kills itself."""
    async with killing_itself(url, queue, point, n):
        pass


async def until_settled(output: asyncio.StreamReader) -> None:
    """Wait until the process has handled and acknowledged the good ones."""
    handled, acknowledged = set[str](), 0
    async with within(45, "handling the good ones"):
        while handled != set(GOOD) or acknowledged < len(GOOD):
            word, _, what = (await output.readline()).decode().strip().partition(" ")
            assert word, "the process ended by itself"
            handled |= {what} if word == "handled" else set()
            acknowledged += int(what) if word == "acknowledged" else 0


def url_of(name: str, request: pytest.FixtureRequest) -> str:
    server: Server = request.getfixturevalue(f"{name}_server")
    return f"{server.url}{SOONER[name]}"


@brokers
@pytest.mark.parametrize("point", SETTLING)
async def test_a_member_killed_while_it_settles_loses_nothing_and_repeats_only_what_it_settled(
    name: str, point: str, request: pytest.FixtureRequest
) -> None:
    url, probe = url_of(name, request), Probe()
    async with Harness(url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        async with killing_itself(url, queue, point) as output:
            await publish_all(broker, queue, [Publication(b"x", message_id=one, key=one) for one in GOOD])
            await until_settled(output)
            await harness.quiesce(broker, queue)
            await broker.publish(queue, b"x", message_id=BAD)
        probe.fail(BAD, 100)
        await broker.consume(queue, probe, retry=POLICY)
        letters = await until_dead_letters(broker, queue, 1)
        await harness.fence(broker, queue, probe)
        letters = await dead_letters_of(broker, queue)
        assert 1 <= len(letters) <= 2
        assert {letter.message.id for letter in letters} == {BAD}
        assert {letter.attempts for letter in letters} == {2}
        assert set(probe.ids).isdisjoint(GOOD), "what was acknowledged before did not come again"


@brokers
@pytest.mark.parametrize("point", REDRIVING)
async def test_a_redrive_killed_at_any_point_loses_nothing_and_repeats_one_letter_at_most(
    name: str, point: str, request: pytest.FixtureRequest
) -> None:
    url, probe = url_of(name, request), Probe()
    async with Harness(url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        ids = await dead(broker, queue, 120)
        await killed(url, queue, point, 2 if point == "after taking" else 7)
        await redrive_all(broker, queue)
        await broker.consume(queue, probe)
        await probe.until_handled(ids)
        await harness.fence(broker, queue, probe)
        times = probe.times(ids)
        assert min(times) == 1
        assert sum(times) - len(ids) <= 1


@brokers
async def test_a_redrive_killed_twice_brings_every_letter_to_its_group_and_to_no_other(
    name: str, request: pytest.FixtureRequest
) -> None:
    url, probe, other = url_of(name, request), Probe(), Probe()
    async with Harness(url) as harness:
        queue = await harness.queue("g", "other")
        await harness.member(queue, other, group="other")
        broker = await harness.broker()
        ids = await dead(broker, queue, LETTERS)
        for n in (LETTERS // 3, LETTERS // 5):
            await until_free(broker, queue)
            await killed(url, queue, "after sending", n)
        await redrive_all(broker, queue)
        await broker.consume(queue, probe)
        await probe.until_handled(ids)
        await harness.fence(broker, queue, probe)
        assert min(probe.times(ids)) == 1
        assert sum(probe.times(ids)) - len(ids) <= 2, "the one in hand at each kill"
        await other.until_handled(ids)
        assert other.times(ids) == [1] * len(ids)


async def dead(broker: Broker, queue: str, count: int) -> list[str]:
    """``count`` messages that lie dead; their ids."""

    async def reject(message: Message) -> None:
        raise Reject(f"message {message.id}")

    subscription = await broker.consume(queue, reject, concurrency=100)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n % 9)) for n in range(count)])
    await until_dead_letters(broker, queue, count)
    await subscription.cancel()
    return ids


async def until_free(broker: Broker, queue: str) -> None:
    """Wait until nobody has the letters in hand: a killed one's hold has to end first."""
    async with within(45, "the letters being free"):
        while True:
            try:
                await broker.dead_letters(queue).purge(DeadLetterFilter(id="nobody"))
            except DeadLettersLocked:
                await asyncio.sleep(0.2)
                continue
            return


async def redrive_all(broker: Broker, queue: str) -> None:
    """Redrive what is left, as soon as the killed one's hold is over."""
    await until_free(broker, queue)
    there = await broker.dead_letters(queue).count()
    account = await broker.dead_letters(queue).redrive()
    assert (account.taken, account.arrived, account.remaining) == (there, there, 0)
