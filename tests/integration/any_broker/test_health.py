"""Health on servers that are cut off, silent, out of memory, starting or replicas: in words and in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from msgbus import BrokerUnavailable, PublishUnknown, connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from tests.support.adapters import rabbitmq as rabbit_bench
from tests.support.adapters import redis as redis_bench
from tests.support.servers import proxied

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus import Broker, Health
    from tests.support.servers import NativeServer

WITHIN = 0.5
"""Seconds that each answer may take."""


pytestmark = pytest.mark.usefixtures("quiet")


async def until(broker: Broker, condition: Callable[[Health], bool], what: str) -> Health:
    """Ask until ``condition`` holds; no answer is late."""
    async with within(40, what):
        while True:
            began = asyncio.get_running_loop().time()
            health = await broker.health(within=WITHIN)
            assert asyncio.get_running_loop().time() - began < WITHIN + 0.3
            if condition(health):
                return health
            await asyncio.sleep(0.05)


async def test_a_link_that_is_cut_or_silent_is_told_and_so_is_its_return(server: NativeServer) -> None:
    probe = Probe()
    async with proxied(server) as (proxy, url), connect(url, group="g", grace=1) as broker:
        await broker.create_queue("health", groups=["g"])
        await (await broker.consume("health", probe)).ready()
        await until(broker, lambda one: one.ready, "being ready")
        await proxy.refuse()
        cut = await until(broker, lambda one: not one.connected, "being cut off")
        assert not cut.ready
        assert cut.reasons
        await proxy.heal()
        back = await until(broker, lambda one: one.ready, "being ready again")
        assert (back.connected, back.reasons) == (True, ())
        assert back.since > cut.since
        proxy.hole()
        silent = await until(broker, lambda one: not one.connected, "being silent")
        assert silent.reasons[0] == f"the server did not answer within {WITHIN:g} s"
        await proxy.heal()
        await until(broker, lambda one: one.ready, "being ready after the silence")
        await broker.publish("health", b"x", message_id="m")
        await probe.until_handled(["m"])


async def test_a_server_short_of_memory_blocks_and_says_why_and_that_is_gone_afterwards() -> None:
    with rabbit_bench.serving() as server:
        async with connect(server.url, group="g", deadline=1.0) as broker:
            await broker.create_queue("blocked", groups=["g"])
            await (await broker.consume("blocked", Probe())).ready()
            await until(broker, lambda one: one.ready, "being ready")
            await asyncio.to_thread(rabbit_bench.ctl, server, "set_vm_memory_high_watermark", "0.0000001")
            with pytest.raises((PublishUnknown, BrokerUnavailable)):
                await broker.publish("blocked", b"x")  # the server tells those who publish
            blocked = await until(broker, lambda one: not one.ready, "being blocked")
            assert blocked.connected
            assert blocked.reasons[0].endswith("takes no publishes from this connection: low on memory")
            assert blocked.queues[0].state == "active", "members go on"
            again = await broker.health()
            assert again.since == blocked.since
            await asyncio.to_thread(rabbit_bench.ctl, server, "set_vm_memory_high_watermark", "absolute", "512MB")
            free = await until(broker, lambda one: one.ready, "being ready again")
            assert free.reasons == ()
            await broker.publish("blocked", b"x")


async def test_a_redis_that_takes_no_writes_is_connected_and_says_why() -> None:
    with redis_bench.serving() as server:
        async with connect(server.url, group="g") as broker, Redis.from_url(server.url) as redis:
            await until(broker, lambda one: one.ready, "being ready")
            await redis.config_set("maxmemory", "1")
            full = await until(broker, lambda one: not one.ready, "being full")
            assert full.connected
            assert "no memory left" in full.reasons[0]
            await redis.config_set("maxmemory", "0")
            await until(broker, lambda one: one.ready, "having room again")
            await redis.replicaof("127.0.0.1", 1)
            replica = await until(broker, lambda one: not one.ready, "being a replica")
            assert "the server is a replica" in replica.reasons[0]
            await redis.replicaof("NO", "ONE")
            await until(broker, lambda one: one.ready, "being the primary again")


async def test_a_redis_that_is_still_loading_is_not_connected_and_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as starting:
        port = starting.sockets[0].getsockname()[1]
        broker = connect(f"redis://127.0.0.1:{port}")
        health = await broker.health()
        await broker.close()
    assert (health.ready, health.connected) == (False, False)
    assert f"127.0.0.1:{port}: pinging: the server is starting" in health.reasons[0]
