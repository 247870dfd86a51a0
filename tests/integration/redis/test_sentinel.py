"""Behind sentinels: the primary fails, and members and publishers continue with the next one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from msgbus import BrokerUnavailable, connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.sentinel import Sentinels
from msgbus_redis.connection.server import ServerAddress
from tests.support.fault_load import MESSAGES_BETWEEN_FAULTS, Load
from tests.support.servers import start_cluster
from tests.support.servers.fixtures import or_skip
from tests.support.servers.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Cluster, NativeServer

PUBLISHERS = 2
SERVICE = "main"


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    cluster = or_skip(lambda: start_cluster("redis"))
    yield cluster
    cluster.stop()


def sentinels(servers: Cluster) -> Sentinels:
    """As the adapter asks them."""
    return Sentinels(SERVICE, [ServerAddress(LOOPBACK, one.recipe.port) for one in servers.sentinels])


def node(servers: Cluster, port: int) -> NativeServer:
    """The server on that port."""
    return next(one for one in servers.nodes if one.recipe.port == port)


async def replicating(servers: Cluster) -> int:
    """Wait until the sentinels know each other and a replica that follows; the primary's port."""
    sentinel = ConnectionPool(ServerAddress(LOOPBACK, servers.sentinels[0].recipe.port))
    async with within(30, "sentinels and replica being ready"):
        while True:
            try:
                ready = await sentinel.run_one(("SENTINEL", "CKQUORUM", SERVICE), "asking")
                flat = await sentinel.run_one(("SENTINEL", "REPLICAS", SERVICE), "asking")
            except Exception:  # noqa: BLE001 - it has only just started, or has no quorum yet
                ready, flat = b"", []
            replicas = [dict(zip(one[::2], one[1::2], strict=True)) for one in flat]
            following = [one for one in replicas if one[b"flags"] == b"slave" and one[b"master-link-status"] == b"ok"]
            if ready.startswith(b"OK") and following:
                break
            await asyncio.sleep(0.1)
    await sentinel.close()
    return (await sentinels(servers).primary())[1]


async def another_primary(servers: Cluster, before: int) -> None:
    async with within(30, "another primary"):
        while (await sentinels(servers).primary())[1] == before:
            await asyncio.sleep(0.05)


async def test_a_replica_is_not_taken_for_the_primary(servers: Cluster) -> None:
    primary = await replicating(servers)
    (replica,) = {one.recipe.port for one in servers.nodes} - {primary}
    with pytest.raises(BrokerUnavailable, match="the server is a replica"):
        async with connect(f"redis://{LOOPBACK}:{replica}", deadline=0.5):
            pass
    client = ConnectionPool(ServerAddress(LOOPBACK, replica))
    (reply,) = await client.run([("XADD", "x", "*", "a", "b")], "writing")
    assert isinstance(reply, ResponseError)
    assert not client._idle[0]._connection.is_connected, "the next command asks who is the primary"
    await client.close()


async def test_what_the_sentinels_do_not_know_is_unavailable_and_says_who_was_asked(servers: Cluster) -> None:
    port = servers.sentinels[0].recipe.port
    for url in (f"redis+sentinel://{LOOPBACK}:{port}?service=other", f"redis+sentinel://{LOOPBACK}:1?service=other"):
        with pytest.raises(BrokerUnavailable, match=f"primary of service other .*{LOOPBACK}:"):
            async with connect(url, deadline=0.5):
                pass


async def test_members_and_publishers_follow_the_primary(servers: Cluster) -> None:
    """Moved by hand, then killed: asynchronous replication may lose what was confirmed meanwhile, and nothing else."""
    probe = Probe()
    async with connect(servers.url, group="g", deadline=60, visibility=5) as broker:
        await broker.create_queue("load", groups=["g"])
        await broker.consume("load", probe)
        load = Load(broker, "load")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        doubtful: list[slice] = []
        for move in (moved, killed):
            await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
            before = await replicating(servers)
            begin = len(load.confirmed) - MESSAGES_BETWEEN_FAULTS
            await move(servers, before)
            doubtful.append(slice(begin, len(load.confirmed) + PUBLISHERS))
            await another_primary(servers, before)
        await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
        load.stop()
        await asyncio.gather(*publishers)
        may_be_lost = {one for stretch in doubtful for one in load.confirmed[stretch]}
        await probe.until_handled(set(load.confirmed) - may_be_lost)
        await broker.publish("load", "fence", message_id="fence")
        await probe.until_handled(["fence"])
        lost = set(load.confirmed) - set(probe.ids)
    repeated = sum(count - 1 for count in Counter(probe.ids).values())
    figures = f"{len(lost)} lost of {len(may_be_lost)} confirmed while the primary changed, {repeated} repeated"
    print(f"\nsentinels: {len(load.confirmed)} confirmed, {figures}, failed: {dict(load.failed)}")  # noqa: T201 - with -s
    assert lost <= may_be_lost


async def moved(servers: Cluster, primary: int) -> None:
    """The primary becomes a replica; until it knows, it confirms what it will forget."""
    sentinel, client = (
        ConnectionPool(ServerAddress(LOOPBACK, servers.sentinels[0].recipe.port)),
        ConnectionPool(ServerAddress(LOOPBACK, primary)),
    )
    await sentinel.run_one(("SENTINEL", "FAILOVER", SERVICE), "moving")
    async with within(30, "the primary being a replica"):
        while await role(client) != b"slave":
            await asyncio.sleep(0.05)
    await sentinel.close()
    await client.close()


async def role(client: ConnectionPool) -> bytes:
    """What the server says it is; nothing while it resets its connections, as it does when it changes."""
    try:
        answer: list[bytes] = await client.run_one(("ROLE",), "asking")
    except BrokerUnavailable:
        return b""
    return answer[0]


async def killed(servers: Cluster, primary: int) -> None:
    """The primary dies, and its replica takes its place."""
    await asyncio.to_thread(node(servers, primary).kill)
