"""Start positions, rewinding a group, and replaying a part of a queue's history."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from msgbus.errors import ConfigurationError, GroupActive, QueueNotFound, Unsupported
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.testing.harness import Harness


async def a_new_group_may_begin_with_what_is_new(harness: Harness) -> None:
    queue, one, other = await harness.queue("early"), Probe(), Probe()
    broker, second = await harness.broker(), await harness.broker()
    await publish_all(broker, queue, [Publication(b"x", message_id=f"old{n}", key=str(n)) for n in range(50)])
    members = [await each.consume(queue, probe, start="newest") for each, probe in ((broker, one), (second, other))]
    await asyncio.gather(*(member.ready() for member in members))
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=f"new{n}", key=str(n)) for n in range(50)])
    await harness.until_all_handled([one, other], set(ids))  # messages that a member gave back may come after the fence
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


async def _published(broker: Broker, queue: str, word: str, key: str | None = None) -> list[str]:
    """Publish ten messages, each with a key of its own unless ``key`` is given."""
    messages = [Publication(b"x", message_id=f"{word}{n}", key=key or str(n)) for n in range(10)]
    return await publish_all(broker, queue, messages)


async def _moment() -> datetime:
    """Return a time between earlier and later publishes: servers store milliseconds."""
    await _tick()
    moment = datetime.now(UTC)
    await _tick()
    return moment


async def _tick() -> None:
    began = datetime.now(UTC)
    while datetime.now(UTC) - began < timedelta(milliseconds=2):  # noqa: ASYNC110 - a clock has no events
        await asyncio.sleep(0)


async def a_group_without_members_is_rewound_and_no_other_notices(harness: Harness) -> None:
    queue, first, other = await harness.queue("g", "other"), Probe(), Probe()
    await harness.member(queue, other, group="other")
    operator, again = await harness.broker(), Probe()
    if not harness.capabilities.history:
        with pytest.raises(Unsupported, match=f"{queue}.*history"):
            await operator.history(queue).rewind("oldest")
        return
    member = await harness.member(queue, first)
    ids = await _published(operator, queue, "m")
    await first.until_handled(ids)
    with pytest.raises(GroupActive, match=f"{queue}.*members"):
        await operator.history(queue).rewind("oldest")
    await member.close()
    await operator.history(queue).rewind("oldest")
    assert (await operator.lag(queue)).total == len(ids)
    await operator.consume(queue, again)
    await harness.fence(operator, queue, again)
    assert again.times(ids) == [1] * len(ids)
    await other.until_handled(ids)
    assert other.times(ids) == [1] * len(ids)


async def a_group_is_rewound_to_a_message_or_a_time_or_the_end(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    if not harness.capabilities.history:
        return  # the position is refused, as above
    broker = await harness.broker()
    subscription = await broker.consume(queue, probe)
    await _published(broker, queue, "early", key="k")
    moment = await _moment()
    late = await _published(broker, queue, "late", key="k")
    await probe.until_handled(late)
    fifth = next(one.origin for one in probe.handled if one.id == "late5")
    for place, expected in ((fifth, late[5:]), (moment, late), ("newest", [])):
        await subscription.cancel()
        again = Probe()
        async with harness.make() as operator:
            await operator.history(queue).rewind(place)
        subscription = await broker.consume(queue, again)
        await harness.fence(broker, queue, again)
        assert [id for id in again.ids if not id.startswith("fence")] == expected
    with pytest.raises(ConfigurationError, match="position"):
        await broker.history(queue).rewind("yesterday")
    with pytest.raises(QueueNotFound):
        await broker.history(harness.name()).rewind("oldest")


async def a_stretch_is_replayed_to_one_running_group(harness: Harness) -> None:
    queue, probe, other = await harness.queue("g", "other"), Probe(), Probe()
    broker = await harness.member(queue, probe)
    await harness.member(queue, other, group="other")
    if not harness.capabilities.history:
        with pytest.raises(Unsupported, match=f"{queue}.*history"):
            await broker.history(queue).replay("oldest")
        return
    early = await _published(broker, queue, "early")
    since = await _moment()
    middle = await _published(broker, queue, "middle")
    until = await _moment()
    late = await _published(broker, queue, "late")
    history = broker.history(queue)
    dry = await history.replay(since, until, dry_run=True)
    assert (dry.taken, dry.arrived) == (10, 0)
    account = await history.replay(since, until)
    assert (account.taken, account.arrived, account.complete) == (10, 10, True)
    await probe.until(lambda: probe.times(middle) == [2] * 10, "the stretch for the second time")
    await harness.fence(broker, queue, probe)
    await harness.fence(broker, queue, other)
    assert probe.times(early + late) == [1] * 20
    assert other.times(early + middle + late) == [1] * 30
    assert {(one.queue, one.attempt) for one in probe.handled} == {(queue, 1)}
