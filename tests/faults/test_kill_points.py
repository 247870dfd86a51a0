"""A member or a redrive killed -9 in every window between publishing and acknowledging: nothing lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msgbus.broker import Publication
from msgbus.deadletters import Filter
from msgbus.errors import LettersBusy
from msgbus.retry import Reject
from msgbus.testing.harness import Harness, publish_all, until_letters
from msgbus.testing.probe import Probe, within
from tests.faults.killed import POLICY, REDRIVING, SETTLING

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.message import Message
    from tests.servers.server import Server

ROOT = Path(__file__).parents[2]
SOONER = {"redis": "?visibility=2", "rabbitmq": "", "kafka": "?session_timeout=6"}
MESSAGES = 30
LETTERS = int(os.environ.get("MSGBUS_TEST_LETTERS", "500"))
"""Dead letters of the redrive that is killed twice."""
brokers = pytest.mark.parametrize("name", list(SOONER))


async def killed(url: str, queue: str, point: str, n: int) -> list[str]:
    """Run the process until it kills itself; what its callback handled."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.killed", url, queue, point, str(n)),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
    )
    async with within(60, f"being killed {point}"):
        output, _ = await process.communicate()
    assert process.returncode == -9
    return output.decode().split()


def url_of(name: str, request: pytest.FixtureRequest) -> str:
    server: Server = request.getfixturevalue(f"{name}_server")
    return f"{server.url}{SOONER[name]}"


@brokers
@pytest.mark.parametrize("point", SETTLING)
async def test_a_member_killed_while_it_settles_loses_nothing(
    name: str, point: str, request: pytest.FixtureRequest
) -> None:
    url, probe = url_of(name, request), Probe()
    async with Harness(url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        ids = [str(n) for n in range(MESSAGES)]
        await publish_all(broker, queue, [Publication(b"x", message_id=one, key=one) for one in ids])
        before = await killed(url, queue, point, 3 if point != "after acknowledging" else 1)
        for one in ids:
            if int(one) % 3 == 1:
                probe.fail(one, 1)

        async def callback(message: Message) -> None:
            if int(message.id) % 3 == 0:
                raise Reject("told to")
            await probe(message)

        await broker.consume(queue, callback, retry=POLICY)
        good = {one for one in ids if int(one) % 3}
        await probe.until_handled(good - set(before))
        bad = len(ids) - len(good)
        letters = await until_letters(broker, queue, bad)
        assert {letter.message.id for letter in letters} == set(ids) - good
        handled = Counter([*before, *probe.ids])
        assert handled.keys() >= good
        assert max(handled.values()) <= 2, "at most that one twice"


@brokers
@pytest.mark.parametrize("point", REDRIVING)
async def test_a_redrive_killed_at_any_point_loses_nothing(
    name: str, point: str, request: pytest.FixtureRequest
) -> None:
    url, probe = url_of(name, request), Probe()
    async with Harness(url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        ids = await dead(broker, queue, 250)
        await killed(url, queue, point, 2)
        await redrive_all(broker, queue)
        await broker.consume(queue, probe)
        await probe.until_handled(ids)
        await harness.fence(broker, queue, probe)
        times = probe.times(ids)
        assert min(times) >= 1
        assert sum(times) - len(ids) <= 100, "at most the page in hand twice"


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
        for n in (2, 1):
            await until_free(broker, queue)
            await killed(url, queue, "after sending", n)
        await redrive_all(broker, queue)
        await broker.consume(queue, probe)
        await probe.until_handled(ids)
        await harness.fence(broker, queue, probe)
        assert min(probe.times(ids)) >= 1
        assert sum(probe.times(ids)) - len(ids) <= 200, "at most the two pages in hand twice"
        await other.until_handled(ids)
        assert other.times(ids) == [1] * len(ids)


async def dead(broker: Broker, queue: str, count: int) -> list[str]:
    """``count`` messages that lie dead; their ids."""

    async def reject(message: Message) -> None:
        raise Reject(f"message {message.id}")

    subscription = await broker.consume(queue, reject)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n % 9)) for n in range(count)])
    await until_letters(broker, queue, count)
    await subscription.cancel()
    return ids


async def until_free(broker: Broker, queue: str) -> None:
    """Wait until nobody has the letters in hand: a killed one's hold has to end first."""
    async with within(45, "the letters being free"):
        while True:
            try:
                await broker.dead_letters(queue).purge(Filter(id="nobody"))
            except LettersBusy:
                await asyncio.sleep(0.2)
                continue
            return


async def redrive_all(broker: Broker, queue: str) -> None:
    """Redrive what is left, as soon as the killed one's hold is over."""
    async with within(45, "the letters being free again"):
        while True:
            try:
                account = await broker.dead_letters(queue).redrive()
            except LettersBusy:
                await asyncio.sleep(0.2)
                continue
            assert account.adds_up
            assert account.left == 0
            return
