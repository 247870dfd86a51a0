"""Network faults between clients and RabbitMQ or Redis, and the list of which failure is tested where.

 1 server killed under load            test_broker_restart, rabbitmq/test_key_order
 2 silence (a black hole)              here
 3 the client's own CancelledError     rabbitmq/test_adapter
 4 a caller cancels                    here, redis/test_adapter
 5 a reply is lost                     here, redis/test_deduplication, test_proxied
 6 memory alarm, OOM, full queue       rabbitmq/test_server_events, redis/test_adapter
 7 unroutable, queue missing           rabbitmq/test_server_events, rabbitmq/test_adapter; Redis: the contract
 8 queue, stream or group deleted      rabbitmq/test_adapter, redis/test_adapter, redis/test_server_events
 9 arguments differ                    rabbitmq/test_adapter, redis/test_trimming
10 a member's process is killed        the contract, test_kill_points
11 a callback takes too long           rabbitmq/test_server_events, rabbitmq/test_adapter, redis/test_adapter
12 a member is frozen                  the contract, redis/test_adapter (a member that was frozen)
13 members join and leave              the contract, test_rolling_restarts
14 a message that ends its process     test_kill_points; beyond the delivery limit: RabbitMQ's dead letters
15 a retry or dead letter fails        the contract, test_kill_points
16 delayed messages and a restart      test_restarted_service
17 clocks of members that differ       ages and idle times are the server's on both; of retry tiers: the contract
18 too large                           the contract, rabbitmq/test_adapter
19 stop with a drain                  test_rolling_restarts
20 failover                            redis/test_sentinel, rabbitmq/test_node_failures
21 a policy that evicts                redis/test_adapter
22 one group's queue is full           rabbitmq/test_adapter

Not provoked: a power cut (the kernel keeps what a killed server has written; `appendfsync always` and quorum queues
protect from it), a full disk (RabbitMQ's alarm for it is the one for memory; Redis answers MISCONF), and clocks of
servers that are set back.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from msgbus import BrokerUnavailable, PublishUnknown, connect
from msgbus.publishing.publication import Publication
from msgbus.testing import Probe
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import within
from msgbus_rabbitmq.connection import connector
from tests.support.fault_load import MESSAGES_BETWEEN_FAULTS, PUBLISHERS, Load, disorder
from tests.support.servers import proxied, start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from msgbus import Broker
    from msgbus.testing import Proxy
    from tests.support.servers import NativeServer

HEARTBEAT = int(os.environ.get("MSGBUS_TEST_HEARTBEAT", "1"))
"""RabbitMQ's, in seconds, so that the test is short; 10, as it is, by MSGBUS_TEST_HEARTBEAT=10."""
CUTS = int(os.environ.get("MSGBUS_TEST_CUTS", "3"))
CANCELLED = int(os.environ.get("MSGBUS_TEST_CANCELLED", "200"))
"""Publishes cancelled at some point; more by MSGBUS_TEST_CANCELLED=1000."""
DEADLINE = 1.5


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    server = or_skip(lambda: start_native(request.param))
    yield server
    server.stop()


@asynccontextmanager
async def consuming(
    server: NativeServer, queue: str, deadline: float = 60
) -> AsyncIterator[tuple[Proxy, Broker, Probe]]:
    """A broker behind a proxy, whose member is ready."""
    probe = Probe()
    async with proxied(server) as (proxy, url), connect(url, group="g", deadline=deadline, grace=1) as broker:
        await broker.create_queue(queue, groups=["g"])
        await (await broker.consume(queue, probe)).ready()
        yield proxy, broker, probe
        await proxy.heal()


async def test_silence_ends_publishes_at_their_deadline_and_is_noticed_by_members(
    server: NativeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "HEARTBEAT_SECONDS", HEARTBEAT)
    async with consuming(server, "silence", DEADLINE) as (proxy, broker, probe):
        await broker.publish("silence", b"x", message_id="before")
        await probe.until_handled(["before"])
        proxy.hole()
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            with pytest.raises((PublishUnknown, BrokerUnavailable)):
                await broker.publish("silence", b"x")
        assert asyncio.get_running_loop().time() - began < 4 * DEADLINE
        async with within(35, "the member noticing"):
            while not broker.session_counts(group="g").lost:
                await asyncio.sleep(0.05)  # nobody tells
        await proxy.heal()
        proxy.cut()
        async with connect(server.url) as direct:
            await direct.publish("silence", b"x", message_id="after")
        await probe.until_handled(["after"])


@pytest.mark.parametrize("way", ["up", "down"])
async def test_silence_one_way_that_ends_leaves_no_message_behind(server: NativeServer, way: str) -> None:
    async with consuming(server, f"one-way-{way}") as (proxy, broker, probe):
        proxy.hole(up=way == "up", down=way == "down")
        sent = [Publication(b"x", message_id=str(n)) for n in range(50)]
        waiting = asyncio.ensure_future(publish_all(broker, f"one-way-{way}", sent))
        await asyncio.sleep(1.0)  # the silence
        assert not waiting.done()
        await proxy.heal()
        await probe.until_handled(await waiting)


async def test_fifty_publishes_whose_reply_is_lost_arrive(server: NativeServer) -> None:
    async with consuming(server, "reply") as (proxy, broker, probe):
        lost = proxy.lose_reply(b"one-of-fifty")
        sent = [Publication(b"one-of-fifty", message_id=str(n)) for n in range(50)]
        await publish_all(broker, "reply", sent)
        assert lost.is_set()
        await broker.publish("reply", b"x", message_id="fence")
        await probe.until_handled([*map(str, range(50)), "fence"])
        if server.name == "redis":
            async with Redis.from_url(server.url) as redis:
                assert await redis.xlen("msgbus:{reply}") == 51, "each once"


async def test_what_a_dead_connection_did_not_take_holds_up_nobody(server: NativeServer) -> None:
    async with consuming(server, "stuck") as (proxy, broker, probe):
        await broker.publish("stuck", b"x", message_id="before")
        proxy.hole()
        large = [Publication(b"x" * 500_000, message_id=str(n)) for n in range(100)]  # more than all buffers on the way
        waiting = asyncio.ensure_future(publish_all(broker, "stuck", large))
        await asyncio.sleep(2.0)  # until they are full: nobody tells
        assert not waiting.done()
        proxy.cut()
        await proxy.heal()
        async with within(20, "a publish by the next connection"):
            await broker.publish("stuck", b"x", message_id="small")
        await probe.until_handled(["small", *await waiting])


async def test_a_slow_network_repeats_nothing(server: NativeServer) -> None:
    async with consuming(server, "slow") as (proxy, broker, probe):
        proxy.delay(0.02)
        ids = [str(n) for n in range(50)]
        await asyncio.gather(*(broker.publish("slow", b"x", message_id=one) for one in ids))
        await probe.until_handled(ids)
        proxy.delay(0.0)
        await broker.publish("slow", b"x", message_id="fence")
        await probe.until_handled(["fence"])
        assert probe.times(ids) == [1] * len(ids)


async def test_connections_cut_under_load_lose_nothing(server: NativeServer) -> None:
    async with consuming(server, "cut") as (proxy, broker, probe):
        load = Load(broker, "cut")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        for _ in range(CUTS):
            await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
            assert proxy.cut()
        await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
        load.stop()
        await asyncio.gather(*publishers)
        await probe.until_handled(load.confirmed)
        assert not load.failed
        assert disorder(probe.ids) == []


async def test_a_refused_connection_is_tried_again_until_somebody_listens(server: NativeServer) -> None:
    async with consuming(server, "refused") as (proxy, broker, probe):
        await proxy.refuse()
        publishing = asyncio.ensure_future(broker.publish("refused", b"x", message_id="patient"))
        async with within(20, "the member noticing"):
            while not broker.session_counts(group="g").lost:
                await asyncio.sleep(0.05)  # nobody tells
        assert not publishing.done()
        await proxy.heal()
        await publishing
        await probe.until_handled(["patient"])


async def test_publishes_cancelled_anywhere_disturb_nobody(server: NativeServer) -> None:
    chance = random.Random(11)
    async with consuming(server, "cancelled") as (proxy, broker, probe):
        proxy.delay(0.001)
        kept: list[str] = []
        for turn in range(CANCELLED // 10):
            ids = [f"{turn}-{n}" for n in range(20)]
            calls = [asyncio.ensure_future(broker.publish("cancelled", b"x", message_id=one)) for one in ids]
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert outcomes[1::2] == [None] * 10
            kept += ids[1::2]
        await probe.until_handled(kept)
