"""Three nodes: the leader of a group's queue dies under load, and no confirmed message is lost."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from tests.support.adapters.rabbitmq import ctl
from tests.support.fault_load import MESSAGES_BETWEEN_FAULTS, PUBLISHERS, QUEUE_AGE_SECONDS, Load, disorder
from tests.support.servers import start_cluster
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Cluster, NativeServer

LEADERS = int(os.environ.get("MSGBUS_TEST_LEADERS", "1"))
"""Leaders killed; more by MSGBUS_TEST_LEADERS=5."""
QUEUE = "load.g"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = or_skip(lambda: start_cluster("rabbitmq"))
    yield cluster
    cluster.stop()


def leader(cluster: Cluster) -> NativeServer:
    """The node that leads the queue."""
    shown = ctl(cluster.nodes[0], "list_queues", "--no-table-headers", "name", "leader")
    name = dict(line.split("\t") for line in shown.splitlines())[QUEUE]
    return next(node for node in cluster.nodes if f"n{node.recipe.port}@" in name)


def replicas(cluster: Cluster) -> int:
    """How many members of the queue are online."""
    shown = ctl(cluster.nodes[0], "list_queues", "--no-table-headers", "name", "online")
    online = dict(line.split("\t") for line in shown.splitlines())[QUEUE]
    return online.count("@")


@pytest.mark.timeout(900)
async def test_nothing_confirmed_is_lost_when_leaders_die_under_load(cluster: Cluster) -> None:
    probe = Probe()
    async with connect(cluster.url, group="g", deadline=90) as broker:
        await broker.create_queue("load", groups=["g"])
        created = asyncio.get_running_loop().time()
        await broker.consume("load", probe)
        load = Load(broker, "load")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        await load.until(created + QUEUE_AGE_SECONDS)
        for _ in range(LEADERS):
            node = await asyncio.to_thread(leader, cluster)
            await asyncio.to_thread(node.kill)
            await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
            await asyncio.to_thread(node.run)
            async with within(60, "the replica being back"):
                while await asyncio.to_thread(replicas, cluster) < len(cluster.nodes):
                    await asyncio.sleep(0.2)
        load.stop()
        await asyncio.gather(*publishers)
        await probe.until_handled(load.confirmed)
    assert disorder(probe.ids) == []
    repeated = sum(count - 1 for count in Counter(probe.ids).values())
    print(f"\n{LEADERS} leaders: {len(load.confirmed)} confirmed, 0 lost, {repeated} repeated, {dict(load.failed)}")  # noqa: T201 - the figures, with -s
