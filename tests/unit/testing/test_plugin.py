"""The pytest plugin, as the tests of a service use it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from msgbus import RetryLater

if TYPE_CHECKING:
    from pathlib import Path

    from msgbus import Broker, Message
    from msgbus.testing.plugin import DeadLettersOf, Handled, Published


async def failing(message: Message) -> NoReturn:
    raise ValueError(message.id)


async def test_what_was_not_published_is_told_with_what_was(broker: Broker, published: Published) -> None:
    for queue in ("awards", "others"):
        await broker.create_queue(queue, groups=["test"])
        await broker.publish(queue, {"points": 29}, message_id="7")
    assert [one.id for one in published("awards", {"points": 29})] == ["7"]
    with pytest.raises(AssertionError) as told:
        published("awards", {"points": 30})
    assert str(told.value) == (
        'awards: {"points":30} was not published; published to it: 7: {"points":29}; to others: others'
    )


@pytest.mark.usefixtures("virtual_time")
async def test_what_is_not_handled_is_told_with_the_place_where_it_waits(broker: Broker, handled: Handled) -> None:
    await broker.create_queue("orders")
    await broker.consume("orders", failing)
    await broker.publish("orders", "x", message_id="7")
    with pytest.raises(AssertionError) as told:
        await handled("orders", within=60.0)
    assert str(told.value).startswith(
        "orders, group test: not handled within 60 s: 1 in orders.test.retry.2m; published to it: 7: x;"
    )


async def test_a_queue_that_does_not_exist_is_never_handled(broker: Broker, handled: Handled) -> None:
    await broker.create_queue("orders", groups=["test"])
    with pytest.raises(AssertionError, match="ordesr: there is no queue of this name; there are: orders"):
        await handled("ordesr")
    await handled("orders")


@pytest.mark.usefixtures("virtual_time")
async def test_a_group_that_does_not_exist_has_handled_nothing(broker: Broker, handled: Handled) -> None:
    await broker.create_queue("orders", groups=["billing"])
    with pytest.raises(AssertionError, match="orders: no group biling has consumed it; its groups are: billing"):
        await handled("orders", group="biling")
    await handled("orders", group="billing")


async def test_a_group_that_begins_to_consume_is_waited_for(broker: Broker, handled: Handled) -> None:
    got: list[Message] = []

    async def note(message: Message) -> None:
        got.append(message)

    await broker.create_queue("orders")
    await broker.publish("orders", "x")
    await broker.consume("orders", note, group="late")
    await handled("orders", group="late")
    assert len(got) == 1


@pytest.mark.usefixtures("virtual_time")
async def test_the_default_policy_takes_13_minutes_that_nobody_waits_for(
    broker: Broker, handled: Handled, dead_letters: DeadLettersOf
) -> None:
    began = asyncio.get_running_loop().time()
    await broker.create_queue("orders")
    await broker.consume("orders", failing)
    await broker.publish("orders", "x")
    await handled("orders")
    assert 755 <= asyncio.get_running_loop().time() - began <= 775
    (letter,) = await dead_letters("orders")
    assert letter.attempts == 7
    assert letter.first_failure is not None
    assert letter.last_failure is not None
    assert 755 <= (letter.last_failure - letter.first_failure).total_seconds() <= 775


@pytest.mark.usefixtures("virtual_time")
async def test_a_message_delayed_by_an_hour_comes_after_an_hour(broker: Broker, handled: Handled) -> None:
    hour = 3600.0
    times: list[float] = []

    async def noting(message: Message) -> None:
        times.append(asyncio.get_running_loop().time())
        if message.attempt == 1:
            raise RetryLater(hour)

    began = asyncio.get_running_loop().time()
    await broker.create_queue("orders")
    await broker.consume("orders", noting)
    await broker.publish("orders", "x", delay=hour)
    await handled("orders", within=3 * hour)
    assert [round((one - began) / hour, 3) for one in times] == [1, 2]


SUITE = """
import sys

def test_that_has_nothing_to_do_with_msgbus():
    assert [one for one in sys.modules if one.partition(".")[0] in {"msgbus", "pydantic"}] == []

def test_that_wants_a_broker(broker):
    pass

def test_that_wants_virtual_time(virtual_time):
    pass
"""


async def test_a_suite_without_msgbus_imports_nothing_and_one_without_asyncio_is_told_what_is_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider"),
        *("-c", "/dev/null", "--rootdir", ".", "test_suite.py"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    report = output.decode()
    assert "1 passed, 2 errors" in report, report
    for fixture in ("broker", "virtual_time"):
        assert f"the fixture {fixture} needs pytest-asyncio: pip install 'msgbus[testing]'" in report
