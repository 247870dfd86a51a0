"""One queue that the server refuses: the other queues of the group notice nothing, and it recovers by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.adapter.address import Address
from msgbus.errors import AccessRefused
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all, until_health
from msgbus.testing.probe import Probe, within

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.health import Health, QueueHealth
    from msgbus.testing.harness import Harness

MESSAGES = 50
KEYS = 5


async def a_refused_queue_is_told_costs_its_neighbours_nothing_and_recovers(harness: Harness) -> None:
    ill, well = await harness.queue("g", word="ill"), await harness.queue("g", word="well")
    ill_probe, well_probe = Probe(), Probe()
    async with harness.faults.unreadable(Address(ill), "g"):
        broker = await harness.broker()
        refused, neighbour = await broker.consume(ill, ill_probe), await broker.consume(well, well_probe)
        async with within(20, "the neighbour is consumed, and the refusal is told"):
            with pytest.raises(AccessRefused, match=ill):
                await refused.ready()
            await neighbour.ready()
        health = await until_health(broker, lambda one: _state(one, ill).state == "refused", "the refusal in health()")
        assert ill in _state(health, ill).reason
        assert not health.ready
        assert _state(health, well).state == "active"
        waiting = await publish_all(broker, ill, _messages("ill"))
        await well_probe.until_handled(await publish_all(broker, well, _messages("well")))
        assert ill_probe.ids == []
    await ill_probe.until_handled(waiting)
    await until_health(broker, lambda one: one.ready, "health() after the refusal")
    await _each_once_and_in_order(harness, broker, {ill: ill_probe, well: well_probe})


async def a_right_that_is_withdrawn_while_it_is_used_costs_the_neighbours_nothing(harness: Harness) -> None:
    ill, well = await harness.queue("g", word="ill"), await harness.queue("g", word="well")
    ill_probe, well_probe = Probe(), Probe()
    broker = await harness.broker()
    for queue, probe in ((ill, ill_probe), (well, well_probe)):
        await (await broker.consume(queue, probe)).ready()
    async with harness.faults.unreadable(Address(ill), "g"):
        beside = asyncio.ensure_future(_one_after_another(broker, well, well_probe))
        # RabbitMQ asks for rights when a consumer begins, so there the messages go on.
        waiting = await publish_all(broker, ill, _messages("ill"))
        await until_health(
            broker,
            lambda one: bool(set(waiting) <= set(ill_probe.ids) or _state(one, ill).reason),
            "the ill queue is told, or goes on",
        )
        await beside
    await ill_probe.until_handled(waiting)
    await until_health(broker, lambda one: one.ready, "health() after the right was given back")
    await _each_once_and_in_order(harness, broker, {well: well_probe})


async def _one_after_another(broker: Broker, queue: str, probe: Probe) -> None:
    for message in _messages("well"):
        await broker.publish(queue, message.body, message_id=message.message_id, key=message.key)
        await probe.until_handled([str(message.message_id)])


def _messages(word: str) -> list[Publication]:
    return [Publication(b"x", message_id=f"{word}-{n}", key=f"{word}-{n % KEYS}") for n in range(MESSAGES)]


def _state(health: Health, queue: str) -> QueueHealth:
    return next(one for one in health.queues if one.queue == queue)


async def _each_once_and_in_order(harness: Harness, broker: Broker, probes: dict[str, Probe]) -> None:
    for queue, probe in probes.items():
        await harness.fence(broker, queue, probe)
        handled = [one for one in probe.handled if not one.id.startswith("fence-")]
        assert len(handled) == MESSAGES, "each once"
        for key in {one.key for one in handled}:
            numbers = [int(one.id.rpartition("-")[2]) for one in handled if one.key == key]
            assert numbers == sorted(numbers)
