"""Outages in virtual time, with the default policy: an hour in which a downstream is off, and messages that are bad."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import TYPE_CHECKING

from msgbus.publishing.publication import Publication
from msgbus.retry import RetryPolicy

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.simulation import SimulatedMember, Simulation
    from msgbus.testing.verification import RecordedBroker

__all__ = ["Downstream"]

HOUR = 3600.0


class Downstream:
    """A callback for which some messages are bad and whose downstream is off until ``back``."""

    def __init__(self, simulation: Simulation, *, back: float = 0.0, bad: type[Exception] = KeyError) -> None:
        self.handled: dict[str, float] = {}
        self.calls = Counter[str]()
        self._simulation = simulation
        self.back = back
        self._bad = bad

    async def __call__(self, message: Message) -> None:
        self.calls[message.id] += 1
        if self._simulation.now < self.back:
            raise ConnectionError("the downstream is off")
        if message.id.startswith("bad"):
            raise self._bad(message.id)
        self.handled.setdefault(message.id, self._simulation.now)


class Situation:
    """A queue ``q`` with messages, a member that handles them, and others that may join."""

    def __init__(self, simulation: Simulation, downstream: Downstream, policy: RetryPolicy | None = None) -> None:
        self.simulation = simulation
        self.downstream = downstream
        self.publisher: RecordedBroker
        self._policy = policy or RetryPolicy()

    async def publish(self, **counts: int) -> None:
        self.publisher = await self.simulation.broker("publisher")
        await self.publisher.create_queue("q", groups=["g"])
        messages = [
            Publication(b"x", message_id=f"{word} {n}", key=f"{word} {n}" if n % 3 else None)
            for word, count in counts.items()
            for n in range(count)
        ]
        while messages:
            assert await self.publisher.publish_many("q", messages[:1000]) == [None] * len(messages[:1000])
            del messages[:1000]

    async def join(self) -> SimulatedMember:
        return await self.simulation.member("q", self.downstream, retry=self._policy)

    async def letters(self) -> int:
        return await self.publisher.dead_letters("q").count()

    async def until_letters(self, count: int, seconds: float) -> float:
        """When there are ``count`` dead letters; infinity if not within ``seconds``."""
        end = self.simulation.now + seconds
        while self.simulation.now < end:
            if await self.letters() >= count:
                return self.simulation.now
            await asyncio.sleep(1)
        return math.inf

    async def until_handled(self, count: int, seconds: float) -> float:
        """When the last of ``count`` messages was handled; infinity if not within ``seconds``."""
        end = self.simulation.now + seconds
        while len(self.downstream.handled) < count and self.simulation.now < end:
            await asyncio.sleep(1)
        handled = self.downstream.handled
        return max(handled.values()) if len(handled) >= count else math.inf


async def bad_on_a_quiet_queue(simulation: Simulation, count: int) -> None:
    """Messages that always raise KeyError: dead letters in the policy's own time."""
    one = Situation(simulation, Downstream(simulation))
    await one.publish(bad=count)
    began = simulation.now
    await one.join()
    own = sum(RetryPolicy().delays)
    assert await one.until_letters(count, 2 * own) - began <= own + 10
    assert set(one.downstream.calls.values()) == {7}


async def bad_in_front_of_good(simulation: Simulation, bad: int, good: int) -> None:
    """The first good message within a second; all good ones before the last bad one."""
    one = Situation(simulation, Downstream(simulation))
    await one.publish(bad=bad, good=good)
    began = simulation.now
    await one.join()
    last = await one.until_handled(good, 60)
    assert min(one.downstream.handled.values()) - began <= 1
    own = sum(RetryPolicy().delays)
    assert last < await one.until_letters(bad, 2 * own)


async def refused_for_ever(simulation: Simulation) -> None:
    """Messages that always raise ConnectionError and are alone: dead letters after the patience at the latest."""
    one = Situation(simulation, Downstream(simulation, bad=ConnectionError))
    await one.publish(bad=12)
    began = simulation.now
    await one.join()
    patience = RetryPolicy().patience_seconds
    assert await one.until_letters(12, 2 * patience) - began <= patience + 10


async def refused_in_front_of_good(simulation: Simulation) -> None:
    """200 of those in front of 1,000 good ones: the first good one within 30 s."""
    one = Situation(simulation, Downstream(simulation, bad=ConnectionError))
    await one.publish(bad=200, good=1000)
    began = simulation.now
    await one.join()
    await one.until_handled(1000, 120)
    assert min(one.downstream.handled.values()) - began <= 30
    assert await one.until_letters(200, 2 * sum(RetryPolicy().delays)) < math.inf


async def off_for_an_hour(simulation: Simulation, count: int, *, churn: bool = False) -> None:
    """No dead letter, and all handled within a minute; with ``churn`` members come, go and are killed meanwhile."""
    one = Situation(simulation, Downstream(simulation, back=HOUR))
    await one.publish(m=count)
    members = [await one.join(), await one.join()]
    while churn and simulation.now < HOUR - 120:
        await simulation.pause(300)
        member = members.pop(0)
        await (member.crash() if simulation.random.random() < 0.5 else member.leave())
        members.append(await one.join())
    await asyncio.sleep(HOUR - simulation.now)
    assert await one.until_handled(count, 600) - HOUR <= 60
    assert await one.letters() == 0


async def due_while_it_is_open(simulation: Simulation) -> None:
    """A message that failed for itself keeps its schedule while the subscription is paused."""
    one = Situation(simulation, Downstream(simulation, back=1e9))
    downstream = one.downstream

    async def callback(message: Message) -> None:
        if message.id.startswith("own"):
            downstream.calls[message.id] += 1
            raise KeyError(message.id)
        await downstream(message)

    await one.publish(own=3, m=30)
    began = simulation.now
    member = await simulation.member("q", callback)
    await asyncio.sleep(60)
    (queue,) = (await member.broker.health()).queues
    assert queue.state == "paused"
    own = sum(RetryPolicy().delays)
    assert await one.until_letters(3, 2 * own) - began <= own + 10
    assert {id: downstream.calls[id] for id in downstream.calls if id.startswith("own")} == dict.fromkeys(
        (f"own {n}" for n in range(3)), 7
    )
    downstream.back = 0.0
    await one.until_handled(30, 120)
