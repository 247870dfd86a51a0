"""Delayed delivery: messages that are published with a delay."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import ConfigurationError
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def a_delayed_message_comes_after_its_delay_to_every_group(harness: Harness) -> None:
    queue, one, two = await harness.queue("one", "two"), Probe(), Probe()
    broker = await harness.member(queue, one, group="one")
    await harness.member(queue, two, group="two")
    began = time.time()
    await broker.publish(queue, b"kept", message_id="late", key="k", headers={"h": "v"}, delay=1.5)
    await broker.publish(queue, b"x", message_id="now", key="k")
    for probe in (one, two):
        await probe.until_handled(["now", "late"])
        assert probe.ids == ["now", "late"]
        late = probe.handled[1]
        assert (late.body, late.key, late.headers, late.attempt) == (b"kept", "k", {"h": "v"}, 1)
    assert time.time() - began >= 1.498, "timers are kept to about a millisecond"


async def a_delayed_message_outlives_its_publisher(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    began = time.time()
    async with harness.make() as publisher:
        await publisher.publish(queue, b"x", message_id="late", delay=1.5)
        await publisher.publish(queue, b"x", message_id="now", delay=0)
    await harness.member(queue, probe)
    await probe.until_handled(["now", "late"])
    assert probe.ids == ["now", "late"]
    assert time.time() - began >= 1.498, "timers are kept to about a millisecond"


async def a_message_that_was_due_while_nobody_was_there_comes_at_once(harness: Harness) -> None:
    queue, first, second = await harness.queue("g"), Probe(), Probe()
    broker = await harness.member(queue, first)
    await broker.publish(queue, b"x", message_id="m", delay=1.0)
    await harness.fence(broker, queue, first)
    await broker.close()
    await asyncio.sleep(1.0)  # the delay passes while no member is running
    other = await harness.member(queue, second)
    await second.until_handled(["m"])
    await harness.fence(other, queue, second)
    assert second.times(["m"]) == [1]


async def a_delay_that_makes_no_sense_is_refused(harness: Harness) -> None:
    queue = await harness.queue("g")
    broker = await harness.broker()
    for delay in (-1.0, 367 * 86_400.0, float("nan")):
        with pytest.raises(ConfigurationError, match="delay"):
            await broker.publish(queue, b"x", delay=delay)
