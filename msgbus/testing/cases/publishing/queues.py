"""Queues: creating them, and publishing to them before they are consumed."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.errors import (
    ConfigurationError,
    InvalidMessage,
    InvalidName,
    QueueConflict,
    QueueNotFound,
    Unsupported,
)
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def many_clients_that_create_one_queue_at_once_all_succeed(harness: Harness) -> None:
    queue, probe = harness.name(), Probe()
    brokers = [await harness.broker() for _ in range(5)]
    await asyncio.gather(*(broker.create_queue(queue, groups=["g"]) for broker in brokers for _ in range(2)))
    for n, broker in enumerate(brokers):
        await broker.publish(queue, b"x", message_id=str(n))
    await harness.member(queue, probe)
    await probe.until_handled(str(n) for n in range(5))
    assert sorted(probe.ids) == [str(n) for n in range(5)]


async def fresh_queues_are_published_to_and_consumed_at_once_by_others(harness: Harness) -> None:
    maker, publisher, probe = await harness.broker(), await harness.broker(), Probe()
    member = await harness.broker()
    queues = [harness.name("fresh") for _ in range(harness.size(8, 50))]
    for queue in queues:
        await maker.create_queue(queue, groups=["g"])
        await publisher.publish(queue, b"x", message_id=queue)
        await member.consume(queue, probe)
    await probe.until_handled(queues)
    assert probe.times(queues) == [1] * len(queues)


async def another_shape_is_a_conflict_that_leaves_the_queue_and_its_neighbours_alone(harness: Harness) -> None:
    neighbour, probe, queue = await harness.queue("g"), Probe(), harness.name("shaped")
    broker = await harness.member(neighbour, probe)
    if not harness.capabilities.partitions:
        with pytest.raises(Unsupported, match="partitions"):
            await broker.create_queue(queue, partitions=2)
        return
    await broker.create_queue(queue, groups=["g"], partitions=2)
    await broker.publish(queue, b"x", message_id="kept")
    with pytest.raises(QueueConflict, match="partitions is 2, not 3"):
        await broker.create_queue(queue, groups=["g"], partitions=3)
    await broker.publish(neighbour, b"x", message_id="flows")
    await broker.consume(queue, probe)
    await probe.until_handled(["kept", "flows"])


async def settings_that_make_no_sense_are_refused_before_anything_is_made(harness: Harness) -> None:
    broker, queue = await harness.broker(), harness.name("never")
    with pytest.raises(ConfigurationError, match="partitions"):
        await broker.create_queue(queue, partitions=0)
    with pytest.raises(InvalidName):
        await broker.create_queue(queue, groups=["has.a.dot"])
    with pytest.raises(ConfigurationError, match=r"groups must be a list, such as \['billing'\]"):
        await broker.create_queue(queue, groups="billing")
    with pytest.raises(QueueNotFound, match=queue):
        await broker.publish(queue, b"x")


async def a_retention_is_seconds_or_a_timedelta_and_nothing_else(harness: Harness) -> None:
    broker, queue, probe = await harness.broker(), harness.name("kept"), Probe()
    nonsense: list[Any] = [math.nan, math.inf, -5, 0, True, "60", timedelta(seconds=-1), timedelta(0)]
    for wrong in nonsense:
        with pytest.raises(ConfigurationError, match=f"{queue}.*retention must be seconds or a timedelta"):
            await broker.create_queue(queue, groups=["g"], retention=wrong)
    with pytest.raises(QueueNotFound, match=queue):
        await broker.publish(queue, b"x")
    for retention in (timedelta(hours=1), 3600, 3600.0):
        try:
            await broker.create_queue(queue, groups=["g"], retention=retention)
        except Unsupported:  # and nothing was created
            with pytest.raises(QueueNotFound, match=queue):
                await broker.publish(queue, b"x")
            return
    with pytest.raises(QueueConflict, match=f"{queue}.*retention"):
        await broker.create_queue(queue, groups=["g"], retention=timedelta(minutes=1))
    await broker.publish(queue, b"x", message_id="kept")
    await broker.consume(queue, probe)
    await probe.until_handled(["kept"])


async def a_dead_letter_queue_or_a_retry_queue_is_nobodys_to_make_or_publish_to(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    for name in (f"{queue}.g.dlq", f"{queue}.g.retry.5s"):
        with pytest.raises(InvalidName):
            await broker.create_queue(name)
        with pytest.raises(InvalidName):
            await broker.publish(name, b"x")
        with pytest.raises(InvalidName):
            await broker.consume(name, Probe())


async def names_that_look_alike_are_different_queues(harness: Harness) -> None:
    broker, base = await harness.broker(), harness.name()
    pairs = [("a.b", "c"), ("a", "b.c"), ("a-b", "c"), ("A.b", "c")]
    names = sorted({f"{base}.{one}.{other}" for one, other in pairs})
    probes = [Probe() for _ in names]
    for name, probe in zip(names, probes, strict=True):
        await broker.create_queue(name, groups=["g"])
        await broker.consume(name, probe)
        await broker.publish(name, b"x", message_id=name)
    for name, probe in zip(names, probes, strict=True):
        await probe.until_handled([name])
        assert (probe.ids, probe.handled[0].queue) == ([name], name)


async def a_queue_with_the_longest_names_works(harness: Harness) -> None:
    queue, group, probe = harness.name(), "g" * 60, Probe()
    queue += "q" * (120 - len(queue))
    broker = await harness.broker(group)
    await broker.create_queue(queue, groups=[group])
    probe.fail("m", 1)
    subscription = await broker.consume(queue, probe)
    await subscription.ready()
    await broker.publish(queue, b"x", message_id="m")
    await probe.until_handled(["m"])
    assert (probe.handled[0].queue, probe.handled[0].group) == (queue, group)


async def publish_many_says_of_each_message_what_became_of_it(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.member(queue, probe)
    assert await broker.publish_many(queue, []) == []
    await publish_all(broker, queue, [Publication(b"x", message_id="one"), Publication("two", message_id="two")])
    verdicts = await broker.publish_many(harness.name("missing"), [b"x", b"y", b"z"])
    assert [type(verdict) for verdict in verdicts] == [QueueNotFound] * 3
    with pytest.raises(InvalidMessage):
        await broker.publish_many(queue, [Publication(b"x", message_id="unsent"), {"no JSON": object()}])
    await harness.fence(broker, queue, probe)
    assert sorted(id for id in probe.ids if not id.startswith("fence")) == ["one", "two"], "or none was sent"


async def the_first_calls_of_a_broker_may_come_all_at_once(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = harness.make()
    calls = [broker.publish(queue, b"x", message_id=str(n)) for n in range(20)]
    await asyncio.gather(*calls, broker.lag(queue), broker.create_queue(queue))
    async with broker:
        await broker.consume(queue, probe)
        await probe.until_handled(str(n) for n in range(20))
    assert sorted(probe.ids, key=int) == [str(n) for n in range(20)]
