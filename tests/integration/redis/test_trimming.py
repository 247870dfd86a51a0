"""Trimming of streams: what is deleted, and when; never a message that a group has not handled."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.errors import QueueConflict, Unsupported
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import Probe, within
from msgbus_redis.consumer import maintenance
from msgbus_redis.lua import TRIM, script_command
from tests.support.adapters.base import GROUP, Listener
from tests.support.adapters.redis import Bench, bench_on, bodies, key, take

if TYPE_CHECKING:
    from tests.support.servers.native import NativeServer

HOUR = 3_600_000


async def trim(bench: Bench, address: Address, retention: int = 0, most: int = 10_000, dead_after: int = HOUR) -> Any:
    """How many were deleted, and the dead groups."""
    keys = (key(address).encode(), f"msgbus:about:{{{address}}}".encode())
    return await bench.ask(*script_command(TRIM, keys, (retention, most, dead_after)))


async def left(bench: Bench, address: Address) -> list[bytes]:
    """The bodies that lie there."""
    return [fields[5] for _, fields in await bench.ask("XRANGE", key(address), "-", "+")]


async def test_the_slowest_group_decides_and_what_it_holds_stays(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = bench.address()
    await adapter.create_queues([QueueSpec(address=address, groups=[GROUP, "slow"])])
    await bench.publish(adapter, address, map(str, range(10)))
    consumer = await bench.consumer(adapter, address)
    await consumer.acknowledge(await take(consumer, address, 10))
    assert (await trim(bench, address))[0] == 0
    slow = ("XREADGROUP", "GROUP", "slow", "c", "COUNT", 5, "STREAMS", key(address), ">")
    ((_, read),) = await bench.ask(*slow)
    assert (await trim(bench, address))[0] == 0, "read is not handled"
    await bench.ask("XACK", key(address), "slow", *[read[n][0] for n in (0, 1, 3)])
    assert (await trim(bench, address))[0] == 2
    assert await left(bench, address) == [str(n).encode() for n in range(2, 10)]
    await bench.ask("XACK", key(address), "slow", *[read[n][0] for n in (2, 4)])
    assert (await trim(bench, address))[0] == 2, "the last that was delivered stays, as the place where the group is"
    assert await left(bench, address) == [str(n).encode() for n in range(4, 10)]


async def test_what_is_younger_than_the_retention_stays_for_groups_that_come_later(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "abc")
    consumer = await bench.consumer(adapter, address)
    await consumer.acknowledge(await take(consumer, address, 3))
    assert await trim(bench, address, retention=HOUR) == [0]
    late = await adapter.open_consumer("late", Listener())
    await late.subscribe({address: 10})
    assert bodies(await take(late, address, 3)) == ["a", "b", "c"]


async def test_a_queue_without_groups_keeps_everything(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = bench.address()
    await adapter.create_queues([QueueSpec(address=address)])
    await bench.publish(adapter, address, "abc")
    assert await trim(bench, address) == [0]
    assert len(await left(bench, address)) == 3


async def test_one_script_deletes_a_bounded_number_and_the_next_goes_on(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, map(str, range(2000)))
    await bench.ask("XGROUP", "SETID", key(address), GROUP, "$")
    counts = []
    while len(await left(bench, address)) > 1:
        counts.append((await trim(bench, address, most=500))[0])
    assert sum(counts) == 1999
    assert max(counts) <= 600


async def test_a_group_that_nobody_is_in_is_named_and_keeps_what_is_its(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = bench.address()
    await adapter.create_queues([QueueSpec(address=address, groups=[GROUP, "dead"])])
    await bench.publish(adapter, address, "abc")
    consumer = await bench.consumer(adapter, address)
    await consumer.acknowledge(await take(consumer, address, 3))
    assert await trim(bench, address, retention=HOUR) == [0], "not before the retention is over"
    assert await trim(bench, address, retention=-1) == [0, b"dead"]
    await bench.ask("XREADGROUP", "GROUP", "dead", "c", "COUNT", 1, "STREAMS", key(address), ">")
    assert await trim(bench, address, retention=-1) == [0], "it has a member again"
    assert await trim(bench, address, retention=-1, dead_after=0) == [0, b"dead"], "which died with something in hand"
    assert len(await left(bench, address)) == 3


async def test_retention_is_kept_as_created_and_another_is_a_conflict(bench: Bench) -> None:
    adapter = await bench.adapter()
    short, usual = bench.address(), bench.address()
    await adapter.create_queues([QueueSpec(address=short, groups=[GROUP], retention=0.5), QueueSpec(address=usual)])
    await adapter.create_queues([QueueSpec(address=short, retention=0.5), QueueSpec(address=short)])
    for address, there, wanted in ((short, "0.5", 7200.0), (usual, "3600", 60.0)):
        with pytest.raises(QueueConflict, match=f"{address}: retention is {there} s, not {wanted:g} s") as conflict:
            await adapter.create_queues([QueueSpec(address=address, groups=["new"], retention=wanted)])
        assert [group[1] for group in await bench.ask("XINFO", "GROUPS", key(address))] != [b"new"]
        remedy = str(conflict.value).partition("; HSET ")[2].split()
        await bench.ask("HSET", *remedy[:3])
        await adapter.create_queues([QueueSpec(address=address, retention=wanted)])
    with pytest.raises(Unsupported, match="retention"):
        await adapter.create_queues([QueueSpec(address=Address("q", GROUP, "retry.5s"), retention=1.0)])


async def test_members_trim_under_load_and_no_group_misses_a_message(
    server: NativeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_SECONDS", 0.05)
    probes = [Probe() for _ in range(3)]
    async with Harness(server.url) as harness:
        queue = await harness.queue("g0", "g1", "g2", retention=0.2)
        for number, probe in enumerate(probes):
            await harness.member(queue, probe, group=f"g{number}")
        publisher = await harness.broker("p")
        ids: set[str] = set()
        chance = random.Random(7)
        for turn in range(20):
            batch = [Publication(b"x", message_id=f"{turn}-{n}") for n in range(100)]
            ids |= set(await publish_all(publisher, queue, batch))
            await asyncio.sleep(chance.uniform(0, 0.1))  # the load, not a synchronisation
        for probe in probes:
            await probe.until_handled(ids)
        async with bench_on(server) as bench, within(20, "the stream being trimmed"):
            while len(await left(bench, Address(queue))) > 1:
                await asyncio.sleep(0.05)
        assert all(probe.times(ids) == [1] * len(ids) for probe in probes)


async def test_a_dead_group_is_told_of_once(
    server: NativeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    probe = Probe()
    async with Harness(server.url) as harness:
        queue = await harness.queue("g", "dead", retention=0.001)
        await harness.member(queue, probe)
        publisher = await harness.broker("p")
        with caplog.at_level(logging.WARNING, "msgbus"):
            for number in range(20):
                await publisher.publish(queue, "x", message_id=str(number))
                await probe.until_handled([str(number)])
                await asyncio.sleep(0.03)  # a look in between, so that a second warning would have come
    told = [record.getMessage() for record in caplog.records if "has no member" in record.getMessage()]
    assert len(told) == 1
    assert "group dead" in told[0]


async def test_a_user_who_may_not_trim_is_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_SECONDS", 0.0)
    await bench.ask("ACL", "SETUSER", "plain", "on", ">s3cret", "~msgbus:*", "+@all", "-xtrim")
    adapter = await bench.adapter(bench.server.url.replace("://", "://plain:s3cret@"))
    address = await bench.queue(adapter)
    consumer = await bench.consumer(adapter, address)
    for number in range(3):
        await bench.publish(adapter, address, [str(number)])
        await consumer.acknowledge(await take(consumer, address, 1))
    told = [record.getMessage() for record in caplog.records if "is not deleted" in record.getMessage()]
    assert len(told) == 1
    assert str(address) in told[0]
