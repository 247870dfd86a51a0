"""Three nodes, leader or coordinator killed under load: no confirmed message is lost, no member restarts."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest

from msgbus import connect
from msgbus.errors import BrokerError, BrokerUnavailable, PublishUnknown
from msgbus.testing.probe import Probe, within
from tests.support.ledger import Ledger, Load
from tests.support.servers import start_cluster
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus import Broker
    from tests.support.servers import Cluster

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "2"))
"""Nodes that are killed and started again, the leader and the coordinator in turn; 10 by MSGBUS_TEST_ROUNDS=10."""
RATE = 300.0
DEADLINE = 30.0
QUEUE = "cluster"


# aiokafka leaves a connection that was cancelled while it was being made to the garbage collector, which closes it and
# warns. Here that may happen, as nodes die under clients that connect to them; no later test shall hear of it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = or_skip(lambda: start_cluster("kafka"))
    yield cluster
    cluster.stop()


class Nodes:
    """Who leads what, asked of the cluster itself."""

    def __init__(self, cluster: Cluster, adapter: Any) -> None:
        self._cluster = cluster
        self._adapter = adapter

    async def leader(self) -> int:
        """The place among the nodes of the one that leads the queue's first partition."""
        return await self._place((await self._adapter._topics.state(QUEUE)).leaders[0])

    async def coordinator(self) -> int:
        """The place of the one that coordinates the group."""
        answer = await self._adapter._cluster.send(FindCoordinatorRequest("g", 0))
        assert answer.error_code == 0
        return await self._place(answer.coordinator_id)

    async def _place(self, node: int) -> int:
        brokers = (await self._adapter._cluster.send(MetadataRequest([]))).brokers
        port = next(port for id, _, port, *_ in brokers if id == node)
        return [one.recipe.port for one in self._cluster.nodes].index(port)

    async def until_in_sync(self) -> None:
        """Wait until every partition has all its replicas again: the next kill may take any of them."""
        async with within(90, "all replicas in sync"):
            while not await self._in_sync():
                await asyncio.sleep(0.1)

    async def _in_sync(self) -> bool:
        try:
            answer = await self._adapter._cluster.send(MetadataRequest([QUEUE, "__consumer_offsets"]))
        except BrokerError:
            return False
        rows = [row for *_, partitions in answer.topics for row in partitions]
        return len(answer.brokers) == 3 and all(leader >= 0 and len(isr) == 3 for _, _, leader, _, isr, *_ in rows)


@pytest.mark.timeout(1800)
async def test_a_cluster_that_loses_leader_or_coordinator_loses_nothing_confirmed(cluster: Cluster) -> None:
    ledger, silences = Ledger(), list[float]()
    loop = asyncio.get_running_loop()
    url = f"{cluster.url}?session_timeout=10"
    async with (
        connect(url, group="g", deadline=DEADLINE) as one,
        connect(url, group="g") as other,
        connect(url, deadline=DEADLINE) as publisher,
    ):
        await publisher.create_queue(QUEUE, groups=["g"], partitions=6)
        for broker in (one, other):
            await (await broker.consume(QUEUE, ledger.callback(broker))).ready()
        nodes = Nodes(cluster, publisher._connection.adapter)
        load = Load(publisher, QUEUE, RATE)
        await ledger.until_more(300)
        for turn in range(ROUNDS):
            await nodes.until_in_sync()
            place = await (nodes.coordinator() if turn % 2 else nodes.leader())
            began = loop.time()
            await asyncio.to_thread(cluster.nodes[place].kill)
            await ledger.until_more(600)
            silences.append(ledger.silence(began))
            await asyncio.to_thread(cluster.nodes[place].run)
        await nodes.until_in_sync()
        await ledger.until_more(300)
        await load.stop()
        await ledger.until_all(load.confirmed)
        owners = {broker for broker in (one, other) if broker.session_counts().current}
    print(  # noqa: T201 - the figures, with -s
        f"\n{ROUNDS} kills: {len(load.confirmed)} confirmed, 0 lost, {ledger.repeated} repeated, {ledger.disorder} out "
        f"of order; refused {dict(load.refused)}; slowest publish {load.slowest:.1f} s; silences "
        f"{', '.join(f'{silence:.1f}' for silence in silences)} s"
    )
    assert owners == {one, other}
    assert load.slowest < DEADLINE + 5, "a publish ends by its deadline"
    assert set(load.refused) <= {"PublishUnknown", "BrokerUnavailable"}
    assert ledger.repeated <= 300 * ROUNDS + sum(load.refused.values())


async def test_with_too_few_replicas_every_publish_ends_by_its_deadline_and_goes_on_when_they_are_back(
    cluster: Cluster,
) -> None:
    deadline, probe = 4.0, Probe()
    async with connect(cluster.url, group="g", deadline=deadline) as broker:
        await broker.create_queue("replicas", groups=["g"], partitions=3)
        await broker.consume("replicas", probe)
        await broker.publish("replicas", b"x", message_id="before")
        await asyncio.gather(*(asyncio.to_thread(node.kill) for node in cluster.nodes[1:]))
        async with within(deadline + 5, "the end of every publish"):
            tries = [broker.publish("replicas", b"x", message_id=f"meanwhile{n}") for n in range(5)]
            ends = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(one) for one in ends} <= {PublishUnknown, BrokerUnavailable}
        await asyncio.gather(*(asyncio.to_thread(node.launch) for node in cluster.nodes[1:]))
        for node in cluster.nodes[1:]:
            await asyncio.to_thread(node.settle)
        async with within(60, "publishing again"):
            while not await confirmed(broker, "after"):
                pass  # it has taken its time: the deadline
        await probe.until_handled(["before", "after"])


async def confirmed(broker: Broker, id: str) -> bool:
    """Whether it could be published."""
    try:
        await broker.publish("replicas", b"x", message_id=id)
    except BrokerError:
        return False
    return True
