"""Recorded runs: many members and faults at once, recorded and verified (``msgbus.testing.verification``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, Reject, RetryPolicy
from msgbus.testing.harness import publish_all, until_dead_letters
from msgbus.testing.probe import Probe
from msgbus.testing.verification import EventWriter, Kind
from msgbus.testing.verification.victim import NAME, process_victim, severed_victim

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.harness import Harness

QUICK = RetryPolicy(immediate=1, backoff=Backoff(0.01, 0.02), delays=(1.0,), pause_after=None)
"""Three attempts within a bit more than a second."""
BATCH = 60


class _Troubled(Probe):
    """Reject one of twenty messages, and fail once or twice for two."""

    async def __call__(self, message: Message) -> None:
        await asyncio.sleep(0)  # lets other tasks run
        if _rejected(message.id):
            raise Reject("told to")
        number = int(message.id) if message.id.isdecimal() else 0
        self.fail(message.id, {3: 1, 5: 2}.get(number % 20, 0))
        await super().__call__(message)


def _rejected(id: str) -> bool:
    return id.isdecimal() and int(id) % 20 == 7


async def members_that_come_and_go_keep_the_promise(harness: Harness) -> None:
    width: dict[str, Any] = {"partitions": 4} if harness.capabilities.partitions else {}
    queue, publisher, rounds = await harness.queue("g", **width), await harness.broker(), harness.size(4, 40)
    probes = [_Troubled() for _ in range(rounds + 1)]
    await harness.member(queue, probes[0], retry=QUICK)
    for turn in range(rounds):
        async with harness.make() as member:
            subscription = await member.consume(queue, probes[turn + 1], retry=QUICK)
            await subscription.ready()
            numbers = range(turn * BATCH, (turn + 1) * BATCH)
            batch = [Publication(f"{n}", message_id=str(n), key=f"k{n % 11}") for n in numbers]
            await publish_all(publisher, queue, batch)
    ids = {str(n) for n in range(rounds * BATCH)}
    rejected = {id for id in ids if _rejected(id)}
    await harness.until_all_handled(probes, ids - rejected)
    await until_dead_letters(publisher, queue, len(rejected))
    await harness.fence(publisher, queue, *probes)
    harness.judge()


async def what_comes_again_after_a_kill_was_in_the_killed_members_hands(harness: Harness) -> None:
    queue, publisher, probe = await harness.queue("g"), await harness.broker(), Probe()
    begin = process_victim if harness.capabilities.durable else severed_victim
    async with begin(harness.url, queue, "g") as victim:
        await harness.member(queue, probe)
        messages = [Publication(f"{n}", message_id=str(n), key=f"k{n % 30}") for n in range(harness.size(300, 10_000))]
        ids = await publish_all(publisher, queue, messages)
        await victim.until_full()
        with EventWriter("harness", harness.events.append).fault("killed", NAME):
            await victim.kill()
        finished = {event.id for event in victim.events() if event.kind is Kind.RETURNED}
        await probe.until_handled(set(ids) - finished)
        await harness.fence(publisher, queue, probe)
        harness.judge(*victim.events())
