"""The test clusters: a node dies, the cluster continues without it, and takes it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from msgbus import connect
from msgbus.testing.probe import within
from tests.support.servers import start_cluster
from tests.support.servers.fixtures import or_skip
from tests.support.servers.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Cluster


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = or_skip(lambda: start_cluster(request.param))
    yield cluster
    cluster.stop()


@pytest.mark.parametrize("cluster", ["kafka", "rabbitmq"], indirect=True)
async def test_two_nodes_of_three_go_on_confirming_and_take_the_third_back(cluster: Cluster) -> None:
    async with connect(cluster.url, group="g", deadline=60) as broker:
        await broker.create_queue("cluster-smoke", groups=["g"])
        cluster.nodes[0].kill()
        await broker.publish("cluster-smoke", b"x")
        cluster.nodes[0].run()
        await broker.publish("cluster-smoke", b"x")
        assert (await broker.lag("cluster-smoke")).total == 2


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
async def test_sentinels_promote_the_replica_of_a_primary_that_died(cluster: Cluster) -> None:
    sentinel = Sentinel([(LOOPBACK, one.recipe.port) for one in cluster.sentinels])  # type: ignore[no-untyped-call]
    primary, replica = ((LOOPBACK, one.recipe.port) for one in cluster.nodes)
    assert await sentinel.discover_master("main") == primary
    cluster.nodes[0].kill()
    async with within(30, "a new primary"):
        while await primary_of(sentinel) != replica:
            await asyncio.sleep(0.05)
    async with sentinel.master_for("main") as redis:
        await redis.set("key", "value")
    cluster.nodes[0].run()
    async with within(30, "the old primary being a replica"):
        while await sentinel.discover_slaves("main") != [primary]:
            await asyncio.sleep(0.05)
    for one in sentinel.sentinels:
        await one.aclose()


async def primary_of(sentinel: Sentinel) -> tuple[str, int] | None:
    """What sentinels call the primary, None while they do not agree."""
    try:
        return cast("tuple[str, int]", await sentinel.discover_master("main"))
    except MasterNotFoundError:
        return None
