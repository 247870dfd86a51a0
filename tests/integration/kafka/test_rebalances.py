"""Members join and leave under load, and queues come and go: nothing is lost or repeated, and keys stay in order."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Harness
from msgbus.testing.probe import within
from tests.support.ledger import Ledger, Load, percentile

if TYPE_CHECKING:
    from msgbus import Broker, Subscription
    from tests.support.servers.server import Server

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "8"))
"""Members that join or leave; 300 by MSGBUS_TEST_ROUNDS=300."""
RATE = 800.0
BETWEEN = 150
"""Messages handled between two changes."""
SWITCHES = int(os.environ.get("MSGBUS_TEST_SWITCHES", "12"))
"""Queues that are subscribed or unsubscribed, 1.7 a second."""


class Members:
    """The members of a group; each is a broker object with connections of its own."""

    def __init__(self, url: str, queue: str, ledger: Ledger, stack: AsyncExitStack) -> None:
        self._url = url
        self._queue = queue
        self._ledger = ledger
        self._stack = stack
        self.living: list[Broker] = []
        self.all: list[Broker] = []

    async def join(self) -> None:
        broker = await self._stack.enter_async_context(connect(f"{self._url}?session_timeout=10", group="g"))
        self.living.append(broker)
        self.all.append(broker)
        await broker.consume(self._queue, self._ledger.callback(broker))

    async def leave(self) -> None:
        await self.living.pop(random.randrange(len(self.living))).close()

    async def change(self) -> None:
        """One joins or leaves, of two to four; returns when the others have let go of what they had.

        Each must have partitions first: whoever has none yet would have nothing to let go of.
        """
        await self.until_each_has_partitions()
        before = {broker: broker.session_counts().revoked for broker in self.living}
        if len(self.living) < 3 or (len(self.living) < 4 and random.random() < 0.5):
            await self.join()
        else:
            await self.leave()
        others = [broker for broker in before if broker in self.living]
        await self._ledger.until(lambda: all(one.session_counts().revoked > before[one] for one in others))

    async def until_each_has_partitions(self) -> None:
        await self._ledger.until(lambda: all(one.session_counts().current > 0 for one in self.living))

    @property
    def drained(self) -> int:
        return sum(broker.session_counts().drained for broker in self.all)

    def sum(self, field: str) -> int:
        return sum(getattr(broker.session_counts(), field) for broker in self.all)


@pytest.mark.timeout(1800)
async def test_members_come_and_go_under_load_and_nothing_is_lost_or_repeated(kafka_server: Server) -> None:
    ledger = Ledger()
    gaps: list[float] = []
    in_hand = 0
    loop = asyncio.get_running_loop()
    async with Harness(kafka_server.url) as harness, AsyncExitStack() as stack:
        queue = await harness.queue("g", partitions=8)
        members = Members(kafka_server.url, queue, ledger, stack)
        await members.join()
        await members.join()
        load = Load(await harness.broker(), queue, RATE)
        await ledger.until_more(BETWEEN)
        for _ in range(ROUNDS):
            before, began = members.drained, loop.time()
            await members.change()
            await ledger.until_more(BETWEEN)
            in_hand += members.drained > before
            gaps.append(ledger.silence(began))
        await load.stop()
        await ledger.until_all(load.confirmed)
        while members.living:
            await members.leave()
    print(  # noqa: T201 - the figures, with -s
        f"\n{ROUNDS} rebalances, {len(load.confirmed)} messages: {ledger.repeated} repeated, {ledger.disorder} out of "
        f"order; in hand at {in_hand}; longest silence p50 {percentile(gaps, 0.5) * 1000:.0f} ms, p99 "
        f"{percentile(gaps, 0.99) * 1000:.0f} ms; drained {members.sum('drained')}, lost {members.sum('lost')} sessions"
    )
    assert not load.refused
    assert (ledger.repeated, ledger.disorder) == (0, 0)
    assert members.sum("abandoned") == 0
    assert in_hand >= 0.8 * ROUNDS - 2, "rebalances with deliveries in hand: 94 to 96 of 100, and 8 are few"
    assert len(ledger.by) > 2


@pytest.mark.timeout(600)
async def test_queues_come_and_go_at_random_and_those_that_stay_repeat_nothing(kafka_server: Server) -> None:
    stays, comes = Ledger(), Ledger()
    loop = asyncio.get_running_loop()
    async with Harness(kafka_server.url) as harness:
        kept = [await harness.queue("g", word="kept") for _ in range(2)]
        switched = [await harness.queue("g", word="switched") for _ in range(5)]
        broker, publisher = await harness.broker(), await harness.broker("p")
        for queue in kept:
            await broker.consume(queue, stays.callback(broker))
        subscriptions: dict[str, Subscription | None] = dict.fromkeys(switched)
        loads = [Load(publisher, queue, 150) for queue in kept] + [Load(publisher, queue, 20) for queue in switched]
        await stays.until_more(100)
        cancelling: set[asyncio.Future[None]] = set()
        due = loop.time()
        for _ in range(SWITCHES):
            queue = random.choice(switched)
            if (subscription := subscriptions[queue]) is None:
                subscriptions[queue] = await broker.consume(queue, comes.callback(queue))
            else:
                cancelling.add(asyncio.ensure_future(subscription.cancel()))  # nobody waits for it
                subscriptions[queue] = None
            due += random.uniform(0.0, 1.2)
            await asyncio.sleep(max(0.0, due - loop.time()))  # at random times, whatever is under way
        for queue in switched:
            if subscriptions[queue] is None:
                subscriptions[queue] = await broker.consume(queue, comes.callback(queue))
        async with within(60, "all cancellations"):
            await asyncio.gather(*cancelling)
        for load in loads:
            await load.stop()
        await stays.until_all(set().union(*(load.confirmed for load in loads[:2])))
        await comes.until_all(set().union(*(load.confirmed for load in loads[2:])))
    print(  # noqa: T201 - the figures, with -s
        f"\n{SWITCHES} switches: {stays.total} messages of queues that stayed, {stays.repeated} repeated; "
        f"{comes.total} of the others, {comes.repeated} repeated"
    )
    assert not any(load.refused for load in loads)
    assert stays.repeated == 0
    assert comes.repeated == 0
    assert broker.session_counts().lost == 0
