"""Subscription changes that come together cost a group one rebalance, with a drain and a commit before it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing.probe import within
from msgbus_kafka import KafkaAdapter
from tests.support.ledger import Ledger, Load

if TYPE_CHECKING:
    from msgbus import Broker, Subscription
    from tests.support.servers import Server

MANY = 11
GAP = 0.009
"""Seconds from one change to the next: all of them within 0.1 s."""
GATHER = 1.0
"""Seconds that a change waits for others in tests of how they are put together; else it is 0.05."""


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes gather for longer, so that a busy machine does not draw apart what comes together."""
    assert KafkaAdapter.change_delay_seconds > 5 * GAP
    monkeypatch.setattr(KafkaAdapter, "change_delay_seconds", GATHER)


@pytest.fixture
def group() -> str:
    return f"g-{secrets.token_hex(4)}"


def generation(broker: Broker) -> int:
    """How many rebalances the group has seen: its members count them."""
    (member,) = broker._members.by_group.values()
    consumer = member._consumer
    counted: int = consumer._client._coordinator.generation  # type: ignore[union-attr]
    return counted


async def queues(broker: Broker, group: str, number: int) -> list[str]:
    names = [f"changes-{secrets.token_hex(4)}-{each}" for each in range(number)]
    await asyncio.gather(*(broker.create_queue(name, groups=[group]) for name in names))
    return names


async def changed(what: str, changes: list[asyncio.Future[None]]) -> None:
    async with within(30, what):
        await asyncio.gather(*changes)


@pytest.mark.usefixtures("unhurried")
async def test_changes_that_come_together_are_one_rebalance(kafka_server: Server, group: str) -> None:
    ledger = Ledger()
    async with connect(kafka_server.url, group=group) as broker:
        stays, *others = await queues(broker, group, 1 + MANY)
        await (await broker.consume(stays, ledger.callback(broker))).ready()
        first = generation(broker)
        load = Load(broker, stays, 200)
        await ledger.until_more(50)
        subscriptions: list[Subscription] = []
        for queue in others:
            subscriptions.append(await broker.consume(queue, ledger.callback(broker)))
            await asyncio.sleep(GAP)
        await changed("the new queues", [asyncio.ensure_future(one.ready()) for one in subscriptions])
        assert generation(broker) == first + 1
        await ledger.until_more(50)
        cancelling: list[asyncio.Future[None]] = []
        for one in subscriptions:
            cancelling.append(asyncio.ensure_future(one.cancel()))
            await asyncio.sleep(GAP)
        await changed("the end of the others", cancelling)
        assert generation(broker) == first + 2
        await load.stop()
        await ledger.until_all(load.confirmed)
    assert ledger.repeated == 0


@pytest.mark.usefixtures("unhurried")
async def test_a_service_that_starts_with_many_queues_joins_its_group_once(kafka_server: Server, group: str) -> None:
    ledger = Ledger()
    async with connect(kafka_server.url, group=group) as broker:
        subscriptions = [
            await broker.consume(queue, ledger.callback(broker)) for queue in await queues(broker, group, MANY)
        ]
        await changed("the queues", [asyncio.ensure_future(one.ready()) for one in subscriptions])
        assert generation(broker) == 1


async def test_changes_that_never_pause_are_applied_all_the_same(kafka_server: Server, group: str) -> None:
    ledger = Ledger()
    async with connect(kafka_server.url, group=group) as broker:
        (queue,) = await queues(broker, group, 1)
        ready = asyncio.ensure_future((await broker.consume(queue, ledger.callback(broker))).ready())
        async with within(30, "the first queue"):
            while not ready.done():
                broker._members.by_group[group].recheck_queues()
                await asyncio.sleep(0.001)
