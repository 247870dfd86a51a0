"""Where a group begins: with all that the server keeps, or with what is new."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.broker import Publication
from msgbus.errors import ConfigurationError, Unsupported
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def a_new_group_may_begin_with_what_is_new(harness: Harness) -> None:
    queue, one, other = await harness.queue("early"), Probe(), Probe()
    broker, second = await harness.broker(), await harness.broker()
    await publish_all(broker, queue, [Publication(b"x", message_id=f"old{n}", key=str(n)) for n in range(50)])
    members = [await each.consume(queue, probe, start="newest") for each, probe in ((broker, one), (second, other))]
    await asyncio.gather(*(member.ready() for member in members))
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=f"new{n}", key=str(n)) for n in range(50)])
    await harness.fence(broker, queue, one, other)
    handled = [id for id in one.ids + other.ids if not id.startswith("fence")]
    assert sorted(handled) == sorted(ids)


async def a_group_that_was_there_goes_on_where_it_was_whatever_start_says(harness: Harness) -> None:
    queue, probe, again = await harness.queue("g"), Probe(), Probe()
    broker = await harness.broker()
    await broker.publish(queue, b"x", message_id="before")
    subscription = await broker.consume(queue, probe, start="newest")
    await probe.until_handled(["before"])
    await subscription.cancel()
    await broker.publish(queue, b"x", message_id="between")
    await broker.consume(queue, again, start="newest")
    await again.until_handled(["between"])
    assert again.ids == ["between"]


async def a_group_that_consumed_nothing_was_there(harness: Harness) -> None:
    queue, probe = await harness.queue(), Probe()
    broker = await harness.broker()
    for start in (None, "newest"):
        subscription = await broker.consume(queue, Probe(), start=start)
        await subscription.ready()
        await subscription.cancel()
    await broker.publish(queue, b"x", message_id="between")
    await broker.consume(queue, probe, start="newest")
    await probe.until_handled(["between"])


async def the_oldest_message_is_where_a_group_begins_or_there_is_none(harness: Harness) -> None:
    queue, probe = await harness.queue("early"), Probe()
    broker = await harness.broker()
    await broker.publish(queue, b"x", message_id="old")
    if not harness.capabilities.history:
        with pytest.raises(Unsupported, match=f"{queue}.*oldest"):
            await broker.consume(queue, probe, start="oldest")
        return
    await broker.consume(queue, probe, start="oldest")
    await probe.until_handled(["old"])


async def a_start_that_is_none_is_refused(harness: Harness) -> None:
    broker = await harness.broker()
    with pytest.raises(ConfigurationError, match="start"):
        await broker.consume(harness.name(), Probe(), start="latest")  # type: ignore[arg-type]  # the mistake meant
