"""Groups: every group gets every message, and its members share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus.errors import NoRoute
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def what_was_published_before_the_first_consume_is_handled(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(100)])
    await broker.consume(queue, probe)
    await probe.until_handled(ids)


async def every_group_gets_everything(harness: Harness) -> None:
    names = ("loyalty", "notification", "audit")
    queue, probes = await harness.queue(*names), [Probe() for _ in names]
    broker = await harness.broker()
    for name, probe in zip(names, probes, strict=True):
        await harness.member(queue, probe, group=name)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=str(n % 9)) for n in range(100)])
    for name, probe in zip(names, probes, strict=True):
        await probe.until_handled(ids)
        assert sorted(probe.ids) == sorted(ids)
        assert {one.group for one in probe.handled} == {name}
    harness.judge()


async def two_groups_of_one_broker_object_both_get_everything(harness: Harness) -> None:
    queue, one, other = await harness.queue("one", "other"), Probe(), Probe()
    broker = await harness.broker()
    await broker.consume(queue, one, group="one")
    await broker.consume(queue, other, group="other")
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(20)])
    await one.until_handled(ids)
    await other.until_handled(ids)


async def members_of_a_group_share(harness: Harness) -> None:
    queue, one, other = await harness.queue("g"), Probe(), Probe()
    broker = await harness.member(queue, one)
    await harness.member(queue, other)
    # Held at first, so that neither member can receive everything before the other has received once.
    one.hold()
    other.hold()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(200)])
    await one.until_entered(1)
    await other.until_entered(1)
    await one.release()
    await other.release()
    await harness.until_all_handled([one, other], set(ids))  # messages that a member gave back may come after the fence
    await harness.fence(broker, queue, one, other)
    together = [id for id in one.ids + other.ids if not id.startswith("fence")]
    assert sorted(together) == sorted(ids)
    assert one.handled
    assert other.handled
    harness.judge()


async def a_queue_without_groups_keeps_its_messages_or_says_that_nobody_gets_them(harness: Harness) -> None:
    queue, probe = await harness.queue(), Probe()
    broker = await harness.broker()
    if harness.capabilities.history:
        await broker.publish(queue, b"x", message_id="early")
        await broker.consume(queue, probe)
        await probe.until_handled(["early"])
        return
    with pytest.raises(NoRoute, match="groups="):
        await broker.publish(queue, b"x")


async def a_late_group_gets_what_is_published_from_then_on(harness: Harness) -> None:
    queue, early, late = await harness.queue("g"), Probe(), Probe()
    broker = await harness.member(queue, early)
    await broker.publish(queue, b"x", message_id="before")
    await early.until_handled(["before"])
    subscription = await broker.consume(queue, late, group="late")
    await subscription.ready()
    await broker.publish(queue, b"x", message_id="after")
    await late.until_handled(["after"])
    assert late.times(["before"]) == [1 if harness.capabilities.history else 0]


async def lag_counts_what_no_member_was_given(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    broker = await harness.broker()
    assert (await broker.lag(queue)).total == 0
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n)) for n in range(30)])
    assert (await broker.lag(queue)).total == 30
    await broker.consume(queue, probe)
    await probe.until_handled(ids)
    await broker.close()
    async with harness.make() as fresh:
        assert (await fresh.lag(queue)).total == 0
