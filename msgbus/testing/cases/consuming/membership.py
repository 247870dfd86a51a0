"""Membership: members join, leave, crash and freeze, and subscriptions change, under load."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.members import forwarding
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.testing.harness import Harness


async def _stream(broker: Broker, queue: str, until: asyncio.Event, ids: list[str]) -> None:
    """Publish small batches until told to stop, and assert that each message is confirmed."""
    while not until.is_set():
        batch = [Publication(b"x", message_id=f"{len(ids) + n}", key=str(n)) for n in range(20)]
        ids += await publish_all(broker, queue, batch)
        await asyncio.sleep(0.02)  # interval between two batches


def _each_once(probes: list[Probe], ids: list[str]) -> None:
    handled = [id for probe in probes for id in probe.ids if not id.startswith("fence")]
    assert sorted(handled) == sorted(ids)


async def a_rolling_restart_under_load_loses_and_repeats_nothing(harness: Harness) -> None:
    queue, publisher = await harness.queue("g"), await harness.broker()
    probes, ids, enough = [Probe() for _ in range(3)], list[str](), asyncio.Event()
    members = [await harness.member(queue, probe) for probe in probes]
    publishing = asyncio.ensure_future(_stream(publisher, queue, enough, ids))
    for n in range(harness.size(3, 20)):
        await members[n % 3].close()
        probes.append(Probe())
        members[n % 3] = await harness.member(queue, probes[-1])
    enough.set()
    await publishing
    await harness.until_all_handled(probes, set(ids))
    await harness.fence(publisher, queue, *probes)
    _each_once(probes, ids)
    harness.judge()


async def a_member_that_joins_gets_its_share(harness: Harness) -> None:
    queue, publisher, enough = await harness.queue("g"), await harness.broker(), asyncio.Event()
    first, second, ids = Probe(), Probe(), list[str]()
    await harness.member(queue, first)
    publishing = asyncio.ensure_future(_stream(publisher, queue, enough, ids))
    await first.until(lambda: len(first.handled) > 50, "the first one being busy")
    await harness.member(queue, second)
    first.hold()  # this member could be quick enough to handle everything
    await second.until(lambda: bool(second.handled), "the second one having its share")
    await first.release()
    enough.set()
    await publishing
    await harness.until_all_handled([first, second], set(ids))
    await harness.fence(publisher, queue, first, second)
    _each_once([first, second], ids)
    harness.judge()


async def subscriptions_that_change_at_random_under_load_lose_and_repeat_nothing(harness: Harness) -> None:
    steady_queue, other_queue = await harness.queue("g", word="steady"), await harness.queue("g", word="other")
    steady, other, ids, enough = Probe(), Probe(), list[str](), asyncio.Event()
    publisher = await harness.broker()
    member = await harness.member(steady_queue, steady)
    publishing = asyncio.ensure_future(_stream(publisher, steady_queue, enough, ids))
    sent: list[str] = []
    for n in range(harness.size(5, 50)):
        subscription = await member.consume(other_queue, other)
        sent += await publish_all(publisher, other_queue, [Publication(b"x", message_id=f"other{n}")])
        await other.until_handled(sent[-1:])
        await subscription.cancel()
    enough.set()
    await publishing
    await steady.until_handled(ids)
    await harness.fence(publisher, steady_queue, steady)
    _each_once([steady], ids)
    _each_once([other], sent)
    harness.judge()


async def what_a_killed_member_had_finished_behind_an_unfinished_one_loses_nothing(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    victim = await harness.killable(queue, hanging="2")
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(20)])
    await victim.until_entered(len(ids))
    await victim.kill()
    await broker.consume(queue, probe)
    await probe.until_handled(["2"])
    await harness.fence(broker, queue, probe)
    assert max(probe.times(ids)) == 1, "what came again came once"


async def what_a_frozen_member_ends_too_late_counts_for_nothing(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    victim = await harness.killable(queue)
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(20)])
    await victim.until_entered(5)
    await victim.freeze()
    await broker.consume(queue, probe)
    await probe.until_handled(ids)
    await victim.thaw()
    await harness.fence(broker, queue, probe)
    assert probe.times(ids) == [1] * len(ids)
    await harness.quiesce(broker, queue)


async def a_pipeline_killed_before_it_acknowledges_repeats_its_output_under_the_same_id(harness: Harness) -> None:
    source, target = await harness.queue("g"), await harness.queue("g", word="target")
    out = Probe()
    victim = await harness.killable(source, forward_to=target)
    broker = await harness.member(target, out)
    ids = await publish_all(broker, source, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(10)])
    made = [f"made-of-{id}" for id in ids]
    entered = await victim.until_entered(3)
    await out.until_handled(f"made-of-{id}" for id in entered)
    await victim.kill()
    async with harness.make() as survivor:
        await survivor.consume(source, forwarding(survivor, target))
        await out.until(lambda: set(made) <= set(out.ids), "the output of all")
    assert max(out.times(made)) <= 2
