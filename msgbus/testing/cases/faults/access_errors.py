"""Access errors: every refusal is a typed error that names the queue and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import (
    AdapterNotFound,
    ConfigurationError,
    DuplicateSubscription,
    InvalidName,
    QueueNotFound,
    Unsupported,
)
from msgbus.publishing.publication import Publication
from msgbus.registry import connect
from msgbus.testing.probe import Probe, within

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def publishing_to_a_missing_queue_is_an_error_and_costs_the_others_nothing(harness: Harness) -> None:
    missing, there, probe = harness.name("missing"), await harness.queue("g"), Probe()
    broker = await harness.member(there, probe)
    async with within(20, "the error about a missing queue"):
        with pytest.raises(QueueNotFound, match=missing) as caught:
            await broker.publish(missing, b"x")
    assert "create_queue" in str(caught.value)
    verdicts = await broker.publish_many(missing, [Publication(b"x"), Publication(b"y")])
    assert [type(verdict) for verdict in verdicts] == [QueueNotFound, QueueNotFound]
    await broker.publish(there, b"x", message_id="after")
    await probe.until_handled(["after"])


async def an_unknown_url_parameter_suggests_the_right_one(harness: Harness) -> None:
    sign = "&" if "?" in harness.url else "?"
    with pytest.raises(ConfigurationError, match="unknown parameter 'deadlin'; did you mean 'deadline'"):
        connect(f"{harness.url}{sign}deadlin=3")
    with pytest.raises(ConfigurationError, match="deadline"):
        connect(f"{harness.url}{sign}deadline=soon")
    with pytest.raises(AdapterNotFound, match=re.escape(f"did you mean '{harness.scheme}'")):
        connect(harness.url.replace(harness.scheme, f"{harness.scheme}x", 1))


async def names_outside_the_grammar_are_the_same_error_everywhere(harness: Harness) -> None:
    broker = await harness.broker()
    for bad in ("", "a" * 121, "with space", "slash/ed", "ümlaut", ".dot-first", "amq.direct", "q.dlq", "q.retry.5s"):
        with pytest.raises(InvalidName):
            await broker.publish(bad, b"x")
        with pytest.raises(InvalidName):
            await broker.create_queue(bad)
        with pytest.raises(InvalidName):
            await broker.consume(bad, Probe())
    for bad in ("", "g" * 61, "with.dot", "with space"):
        with pytest.raises(InvalidName):
            await broker.consume(harness.name(), Probe(), group=bad)


async def one_queue_is_consumed_once_in_a_group_of_one_broker(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    with pytest.raises(DuplicateSubscription, match=queue):
        await broker.consume(queue, Probe())
    await broker.publish(queue, b"x", message_id="m")
    await probe.until_handled(["m"])


async def consuming_without_a_group_is_an_error(harness: Harness) -> None:
    async with connect(harness.url) as broker:
        with pytest.raises(ConfigurationError, match="group"):
            await broker.consume(harness.name(), Probe())


async def partitions_are_honoured_or_refused(harness: Harness) -> None:
    queue = harness.name("wide")
    broker = await harness.broker()
    if harness.capabilities.partitions:
        await broker.create_queue(queue, groups=["g"], partitions=3)
        assert len((await broker.lag(queue)).partitions) == 3
        return
    with pytest.raises(Unsupported, match="partitions"):
        await broker.create_queue(queue, partitions=3)
    with pytest.raises(QueueNotFound):
        await broker.publish(queue, b"x")


async def an_exchange_is_a_prefix(harness: Harness) -> None:
    broker, probe = await harness.broker(), Probe()
    exchange, _, queue = harness.name("in").partition(".")
    await broker.create_queue(queue, exchange=exchange, groups=["g"])
    await broker.consume(f"{exchange}.{queue}", probe)
    await broker.publish(queue, b"x", message_id="m", exchange=exchange)
    await probe.until_handled(["m"])
    assert probe.handled[0].queue == f"{exchange}.{queue}"
