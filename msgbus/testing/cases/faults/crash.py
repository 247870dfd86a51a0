"""Crash: a member is killed with messages in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import Probe

if TYPE_CHECKING:
    from msgbus.testing.harness import Harness


async def what_a_killed_member_had_in_hand_comes_back(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    victim = await harness.killable(queue)
    broker = await harness.broker()
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(40)])
    entered = await victim.until_entered(5)
    assert entered <= set(ids)
    await victim.kill()
    await broker.consume(queue, probe)
    await probe.until_handled(ids)
    assert {one.attempt for one in probe.handled} == {1}, "a crash is no failure of the message"


async def a_survivor_takes_over_from_a_killed_member(harness: Harness) -> None:
    queue, probe = await harness.queue("g"), Probe()
    victim = await harness.killable(queue)
    broker = await harness.member(queue, probe)
    ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), key=f"k{n}") for n in range(200)])
    await victim.until_entered(1)
    await victim.kill()
    await probe.until_handled(ids)
    harness.judge()
