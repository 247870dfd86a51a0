"""Members that come, go and crash while a publisher publishes; callbacks and the server fail now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, RetryPolicy
from msgbus.testing.simulation import replay
from msgbus.testing.verification.events import as_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.broker import Broker
    from msgbus.message import Message
    from msgbus.testing.simulation import SimulatedMember, Simulation

MESSAGES = 40
KEYS = 4
PAIRS = 8
POLICY = RetryPolicy(immediate=1, backoff=Backoff(first=0.05, most=0.2), delays=(1.0, 2.0))


async def three_members(simulation: Simulation, graces: Sequence[float] = (25.0,)) -> None:
    """Three seats. A member gives its callbacks one of ``graces`` when it leaves."""
    publisher = await simulation.broker("publisher")
    await publisher.create_queue("q", groups=["g"])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(simulation, publisher))
        for _ in range(3):
            tasks.create_task(take_part(simulation, graces))


async def hasty_members(simulation: Simulation) -> None:
    """The same, and some leave before their callbacks end. Not for positions: what was handled above comes again."""
    await three_members(simulation, (0.2, 25.0))


async def two_and_no_more(simulation: Simulation) -> None:
    """The second message comes while a member is done with the first, and no third one would set it going again."""
    publisher = await simulation.broker("publisher")
    await publisher.create_queue("q", groups=["g"])
    for _ in range(PAIRS):
        left = asyncio.Semaphore(0)

        async def callback(message: Message, left: asyncio.Semaphore = left) -> None:
            del message
            left.release()

        member = await simulation.member("q", callback, concurrency=1)
        await asyncio.gather(publisher.publish("q", "first"), publisher.publish("q", "second"))
        with contextlib.suppress(TimeoutError):  # one is lost: finish() finds it
            async with asyncio.timeout(60):
                await left.acquire()
                await left.acquire()
        await member.leave()


async def publish(simulation: Simulation, publisher: Broker) -> None:
    messages = [
        Publication(f"body {n}", message_id=f"m{n}", key=str(n % KEYS) if n % 3 else None) for n in range(MESSAGES)
    ]
    while messages:
        some = simulation.random.randint(1, 5)
        await publisher.publish_many("q", messages[:some])  # its verdicts are recorded, and judged as what they are
        del messages[:some]
        await simulation.pause(0.2)


async def take_part(simulation: Simulation, graces: Sequence[float]) -> None:
    """One seat: somebody sits down, gets up or dies, and the next one takes it."""
    for _ in range(2):
        await simulation.pause(0.5)
        member = await join(simulation)
        await simulation.pause(2.0)
        member.broker.grace = simulation.random.choice(graces)
        await (member.crash() if simulation.random.random() < 0.5 else member.leave())
    await join(simulation)


async def join(simulation: Simulation) -> SimulatedMember:
    concurrency = simulation.random.choice((1, 3))
    return await simulation.member("q", simulation.callback(), retry=POLICY, concurrency=concurrency)


if __name__ == "__main__":
    logging.disable()
    for seed in map(int, sys.argv[1:]):
        sys.stdout.buffer.writelines(map(as_line, replay(three_members, seed)))
