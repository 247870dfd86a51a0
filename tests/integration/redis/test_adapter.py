"""RedisAdapter on a real server: giving back, claiming, fencing, waking, and a server that goes away."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter import QueueSpec
from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    ConfigurationError,
    PublishUnknown,
    QueueConflict,
    QueueNotFound,
    Unsupported,
)
from msgbus_redis import RedisAdapter, RedisOptions
from msgbus_redis.lua import DELETE_DEAD_CONSUMERS, script_command

if TYPE_CHECKING:
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery

from tests.support.adapters.base import GROUP, Listener
from tests.support.adapters.redis import SHORT, Bench, bench_on, bodies, drained, key, serving, take, take_turns

# Queues.


async def test_a_queue_without_groups_exists_and_is_empty(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = bench.address()
    await asyncio.gather(*(adapter.create_queues([QueueSpec(address=address)]) for _ in range(10)))
    assert (await adapter.lag(address, "late")).total == 0
    assert await bench.ask("XINFO", "GROUPS", key(address)) == []
    await bench.publish(adapter, address, ["a"])
    assert (await adapter.lag(address, "late")).total == 1


@pytest.mark.parametrize("option", [{"partitions": 2}, {"compact": True}, {"native": {"a": "b"}}])
async def test_what_redis_cannot_honour_is_refused_before_anything_is_made(bench: Bench, option: Any) -> None:
    adapter = await bench.adapter()
    good, bad = bench.address(), bench.address()
    with pytest.raises(Unsupported, match=rf"{bad}.*{next(iter(option))}"):
        await adapter.create_queues([QueueSpec(address=good), QueueSpec(address=bad, **option)])
    assert await bench.ask("EXISTS", key(good)) == 0


async def test_a_key_that_is_no_stream_is_a_conflict_and_stays(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = bench.address()
    await bench.ask("SET", key(address), "x")
    with pytest.raises(QueueConflict, match=str(address)):
        await adapter.create_queues([QueueSpec(address=address, groups=[GROUP])])
    assert await bench.ask("GET", key(address)) == b"x"


async def test_lag_is_what_nobody_was_handed(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    with pytest.raises(QueueNotFound):
        await adapter.lag(bench.address(), GROUP)
    await bench.publish(adapter, address, "abcde")
    ids = [one[0].decode() for one in await bench.ask("XRANGE", key(address), "-", "+")]
    await bench.ask("XDEL", key(address), ids[3])  # from here on the server does not know, and it is counted
    consumer = await bench.consumer(adapter, address)
    await take(consumer, address, 2)
    assert (await adapter.lag(address, GROUP)).total == 2


# Publishing.


async def test_one_missing_queue_costs_the_others_nothing(bench: Bench) -> None:
    adapter = await bench.adapter()
    address, missing = await bench.queue(adapter), bench.address()
    verdicts = await adapter.publish([bench.message(one) for one in (address, missing, address)], 5.0)
    assert verdicts[0] is verdicts[2] is None
    assert isinstance(verdicts[1], QueueNotFound)
    assert str(missing) in str(verdicts[1])
    assert await bench.ask("EXISTS", key(missing)) == 0


async def test_a_cancelled_caller_does_not_disturb_those_who_share_its_pipeline(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    for _ in range(50):
        calls = [asyncio.create_task(adapter.publish([bench.message(address)], 5.0)) for _ in range(20)]
        for _ in range(secrets.randbelow(4)):
            await asyncio.sleep(0)
        for one in calls[::2]:
            one.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[1::2] == [[None]] * 10
        assert {type(one) for one in results[::2]} <= {asyncio.CancelledError, list}


async def test_a_frozen_server_leaves_the_outcome_unknown_at_the_deadline_and_unsent_is_certain(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, ["before"])
    bench.server.pause()
    began = time.monotonic()
    sent = asyncio.create_task(adapter.publish([bench.message(address)], 0.6))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (waiting,) = await adapter.publish([bench.message(address)], 0.3)
    (unknown,) = await sent
    assert time.monotonic() - began < 2.0
    bench.server.resume()
    assert isinstance(unknown, PublishUnknown)
    assert isinstance(waiting, BrokerUnavailable | PublishUnknown)
    await bench.publish(adapter, address, ["after"])


async def test_a_server_that_was_killed_is_unavailable_and_loses_nothing_confirmed(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, map(str, range(500)))
    consumer = await bench.consumer(adapter, address)
    taken = await take(consumer, address, 100)
    bench.server.kill()
    with pytest.raises(BrokerUnavailable):
        await drained(consumer, address)
    (verdict,) = await adapter.publish([bench.message(address)], 2.0)
    assert isinstance(verdict, BrokerUnavailable)
    with pytest.raises(BrokerUnavailable):
        await consumer.acknowledge(taken)
    began = time.monotonic()
    await consumer.close(0)
    assert time.monotonic() - began < 5.0
    bench.server.restart()
    short = await bench.adapter(visibility=SHORT)
    again = await bench.consumer(short, address)
    got = await take(again, address, 500)
    assert sorted(map(int, bodies(got))) == list(range(500))
    await bench.publish(adapter, address, ["reconnected"])


async def test_full_memory_is_transient_and_groups_can_catch_up() -> None:
    with serving(maxmemory="3mb") as server:
        async with bench_on(server) as bench:
            adapter = await bench.adapter()
            address = await bench.queue(adapter)
            verdicts: list[Any] = []
            while not any(verdicts):
                verdicts += await adapter.publish([bench.message(address, "x" * 100_000)], 5.0)
            assert isinstance(verdicts[-1], BrokerUnavailable)
            assert "maxmemory" in str(verdicts[-1])
            consumer = await bench.consumer(adapter, address)
            got = await take(consumer, address, len(verdicts) - 1)
            await consumer.acknowledge(got)
            assert await bench.pending(address) == 0


# Leaving and taking over.


async def test_what_is_given_back_comes_at_once_and_before_what_is_newer(bench: Bench) -> None:
    one, two = await bench.adapter(), await bench.adapter()
    address = await bench.queue(one)
    leaving = await bench.consumer(one, address)
    staying = await bench.consumer(two, address)
    await bench.publish(one, address, map(str, range(10)))
    held = await take(leaving, address, 10)
    assert not any(delivery.message.redelivered for delivery in held)
    waiting = asyncio.create_task(take(staying, address, 9))
    await leaving.acknowledge(held[:1])
    await leaving.close(1.0)
    got = await waiting
    assert bodies(got) == [str(number) for number in range(1, 10)]
    assert all(delivery.message.redelivered for delivery in got)
    await bench.publish(one, address, ["newer"])
    await staying.acknowledge(got)
    assert bodies(await take(staying, address, 1)) == ["newer"]
    assert leaving.name.encode() not in await bench.consumers(address)  # type: ignore[attr-defined]  # ours


async def test_acknowledging_while_draining_counts_and_extending_too(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "ab")
    consumer = await bench.consumer(adapter, address, listener=listener)
    held = await take(consumer, address, 2)
    lost: list[Delivery] = []

    async def drain() -> None:
        lost.extend(await consumer.extend(held))
        await consumer.acknowledge(held)

    listener.drain = drain
    await consumer.close(1.0)
    await consumer.close(1.0)
    assert lost == []
    assert listener.ended == listener.sessions
    assert await bench.pending(address) == 0
    assert list(await consumer.extend(held)) == held


async def test_a_queue_that_is_let_go_of_gives_back_and_the_others_flow_on(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    kept, gone = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, kept, gone, listener=listener)
    other = await bench.consumer(await bench.adapter(), gone)
    await bench.publish(adapter, kept, "a")
    await bench.publish(adapter, gone, "bcd")
    mine = await take(consumer, kept, 1)
    await take(consumer, gone, 3)
    assert await consumer.receive({gone: 5}, 0.01) == []  # a read is now under way
    await consumer.subscribe({kept: 1000})
    await bench.publish(adapter, gone, "e")
    assert bodies(await take(other, gone, 4)) == ["b", "c", "d", "e"]
    assert len(listener.ended) == 1
    assert list(await consumer.extend(mine)) == []
    await consumer.acknowledge(mine)
    assert await consumer.receive({kept: 5, gone: 5}, 0.05) == []
    await consumer.subscribe({kept: 1000, gone: 1000})
    await other.close(1.0)
    assert bodies(await take(consumer, gone, 4)) == ["b", "c", "d", "e"]


async def test_what_a_dead_member_held_is_taken_over_by_room_and_in_order(bench: Bench) -> None:
    adapter = await bench.adapter(visibility=SHORT)
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, map(str, range(30)))
    await bench.ask("XREADGROUP", "GROUP", GROUP, "dead", "COUNT", 20, "STREAMS", key(address), ">")
    consumer = await bench.consumer(adapter, address)
    fresh = await take(consumer, address, 10)
    assert bodies(fresh) == [str(number) for number in range(20, 30)]
    taken: list[Delivery] = []
    while len(taken) < 20:
        some = await consumer.receive({address: 3}, 1.0)
        assert len(some) <= 3
        taken += some
        await consumer.acknowledge(some)
        assert list(await consumer.extend(fresh)) == []
    assert bodies(taken) == [str(number) for number in range(20)]
    assert all(one.message.redelivered for one in taken)


async def test_what_is_extended_stays_and_is_not_handed_out_again(bench: Bench) -> None:
    one, two = await bench.adapter(visibility=SHORT), await bench.adapter(visibility=SHORT)
    address = await bench.queue(one)
    await bench.publish(one, address, "ab")
    working, idle = await bench.consumer(one, address), await bench.consumer(two, address)
    held = await take(working, address, 2)
    end = time.monotonic() + 4 * SHORT
    while time.monotonic() < end:
        assert list(await working.extend(held)) == []
        assert await idle.receive({address: 5}, SHORT / 4) == []
        assert await working.receive({address: 5}, 0.01) == []
    await working.acknowledge(held)
    assert await bench.pending(address) == 0


async def test_a_slow_member_does_not_take_over_from_itself(bench: Bench) -> None:
    adapter = await bench.adapter(visibility=SHORT)
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "a")
    consumer = await bench.consumer(adapter, address)
    held = await take(consumer, address, 1)
    end = time.monotonic() + 3 * SHORT
    while time.monotonic() < end:
        assert await consumer.receive({address: 5}, SHORT) == []
    await consumer.acknowledge(held)
    assert await bench.pending(address) == 0


async def test_a_zombie_hears_what_it_lost_and_changes_nothing(bench: Bench) -> None:
    one, two = await bench.adapter(visibility=SHORT), await bench.adapter(visibility=SHORT)
    address = await bench.queue(one)
    await bench.publish(one, address, map(str, range(10)))
    zombie, heir = await bench.consumer(one, address), await bench.consumer(two, address)
    held = await take(zombie, address, 10)
    taken = await take(heir, address, 10)
    await zombie.acknowledge(held[:5])
    assert await bench.pending(address) == 10
    assert list(await zombie.extend(held[5:])) == held[5:]
    await zombie.acknowledge(held)
    await zombie.close(0)
    assert await bench.pending(address) == 10
    assert list(await heir.extend(taken)) == []
    await heir.acknowledge(taken)
    assert await bench.pending(address) == 0


async def test_what_was_trimmed_while_pending_does_not_stop_the_taking_over(bench: Bench) -> None:
    adapter = await bench.adapter(visibility=SHORT)
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "abc")
    await bench.ask("XREADGROUP", "GROUP", GROUP, "dead", "STREAMS", key(address), ">")
    first = (await bench.ask("XRANGE", key(address), "-", "+"))[0][0].decode()
    await bench.ask("XDEL", key(address), first)
    consumer = await bench.consumer(adapter, address)
    assert bodies(await take(consumer, address, 2)) == ["b", "c"]


async def test_names_of_the_dead_are_deleted_only_when_nothing_is_pending_for_them(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "a")
    await bench.ask("XREADGROUP", "GROUP", GROUP, "holds", "STREAMS", key(address), ">")
    await bench.ask("XGROUP", "CREATECONSUMER", key(address), GROUP, "empty")
    reap = script_command(DELETE_DEAD_CONSUMERS, key(address).encode(), (GROUP, 3_600_000))
    assert await bench.ask(*reap) == 0
    reap = script_command(DELETE_DEAD_CONSUMERS, key(address).encode(), (GROUP, -1))
    assert await bench.ask(*reap) == 1
    assert await bench.consumers(address) == [b"holds"]


# Reading.


async def test_each_queue_gets_no_more_than_its_room(bench: Bench) -> None:
    adapter = await bench.adapter()
    addresses = [await bench.queue(adapter) for _ in range(4)]
    for address in addresses:
        await bench.publish(adapter, address, map(str, range(60)))
    consumer = await bench.consumer(adapter, *addresses)
    seen: dict[Address, list[str]] = {address: [] for address in addresses}
    rooms = [1, 2, 30, 0]
    turn = 0
    while sum(map(len, seen.values())) < 240:
        turn += 1
        room = {address: most for address, most in zip(addresses, rooms[turn % 4 :] + rooms, strict=False) if most}
        got = await consumer.receive(room, 1.0)
        for address in addresses:
            of = [one for one in got if one.address == address]
            assert len(of) <= room.get(address, 0)
            seen[address] += bodies(of)
        await consumer.acknowledge(got)
    assert all(one == [str(number) for number in range(60)] for one in seen.values())
    assert sum([await bench.pending(address) for address in addresses]) == 0


async def test_a_read_that_outlives_its_caller_loses_nothing_and_keeps_to_later_rooms(bench: Bench) -> None:
    adapter = await bench.adapter()
    left, right = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, left, right)
    sent = 0
    got: list[Delivery] = []
    for turn in range(100):
        room = {left: 2} if turn % 2 else {right: 2}
        waiting = asyncio.create_task(consumer.receive(room, 0.5))
        await take_turns()
        consumer.wake()
        await bench.publish(adapter, left, [f"l{turn}"])
        await bench.publish(adapter, right, [f"r{turn}"])
        sent += 2
        some = await waiting
        assert {one.address for one in some} <= room.keys()
        got += some
    while len(got) < sent:
        got += await consumer.receive({left: 10, right: 10}, 1.0)
    assert sorted(bodies(got)) == sorted(f"{side}{turn}" for side in "lr" for turn in range(100))
    assert bodies([one for one in got if one.address == left]) == [f"l{turn}" for turn in range(100)]


async def test_wake_ends_a_receive_at_once_also_when_it_comes_just_before(bench: Bench) -> None:
    adapter = await bench.adapter()
    address, other = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, address, other)
    began = time.monotonic()
    for turns in range(20):
        waiting = asyncio.create_task(consumer.receive({address: 1}, 20.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        consumer.wake()
        assert await waiting == []
        await bench.publish(adapter, other, ["x"])
        assert len(await take(consumer, other, 1)) == 1  # the room of before does not hold it up
    assert time.monotonic() - began < 5.0


async def test_without_room_for_anything_receive_waits_and_can_be_woken(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.publish(adapter, address, "a")
    consumer = await bench.consumer(adapter, address)
    assert await consumer.receive({}, 0.05) == []
    consumer.wake()
    assert await consumer.receive({}, 20.0) == []
    assert bodies(await take(consumer, address, 1)) == ["a"]


async def test_a_missing_queue_is_named_and_costs_the_others_nothing(bench: Bench) -> None:
    adapter = await bench.adapter()
    there, missing = await bench.queue(adapter), bench.address()
    consumer = await adapter.open_consumer(GROUP, Listener())
    assert (await consumer.subscribe({there: 10, missing: 10})).keys() == {missing}
    assert await bench.ask("EXISTS", key(missing)) == 0
    await bench.publish(adapter, there, "a")
    assert bodies(await take(consumer, there, 1)) == ["a"]
    await adapter.create_queues([QueueSpec(address=missing)])
    assert not await consumer.subscribe({there: 10, missing: 10})


async def test_a_deleted_stream_is_told_alone_and_a_deleted_group_is_made_again(bench: Bench) -> None:
    adapter = await bench.adapter()
    stays, goes, listener = await bench.queue(adapter), await bench.queue(adapter), Listener()
    consumer = await adapter.open_consumer(GROUP, listener)
    assert not await consumer.subscribe({stays: 10, goes: 10})
    await bench.publish(adapter, stays, "a")
    await consumer.acknowledge(await take(consumer, stays, 1))
    await bench.ask("XGROUP", "DESTROY", key(stays), GROUP)
    await consumer.acknowledge(await take(consumer, stays, 1))
    waiting = asyncio.create_task(consumer.receive({stays: 10, goes: 10}, 20.0))
    await take_turns()
    await bench.ask("DEL", key(goes))
    await bench.publish(adapter, stays, "b")
    assert bodies(await waiting or await take(consumer, stays, 1)) == ["b"]
    async with asyncio.timeout(20):
        while goes not in listener.refused:
            assert not await consumer.receive({stays: 10, goes: 10}, 0.05)
    assert isinstance(listener.refused[goes], QueueNotFound)
    assert [session.address for session in listener.fenced] == [goes]  # type: ignore[attr-defined]  # a StreamSession
    assert (await consumer.subscribe({stays: 10, goes: 10})).keys() == {goes}


async def test_a_frozen_server_bounds_receive_and_close(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    consumer = await bench.consumer(adapter, address)
    await bench.publish(adapter, address, "a")
    await take(consumer, address, 1)
    bench.server.pause()
    began = time.monotonic()
    assert await consumer.receive({address: 1}, 0.2) == []
    assert time.monotonic() - began < 1.0
    await consumer.close(0)
    await adapter.close()
    assert time.monotonic() - began < 8.0
    bench.server.resume()


# Logging in.


async def test_wrong_credentials_are_refused_without_repeating_them(bench: Bench) -> None:
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    port = bench.raw.address.port
    adapter = await bench.adapter(f"redis://{user}:{password}@127.0.0.1:{port}")
    with pytest.raises(AccessRefused, match=re.escape(f"127.0.0.1:{port}")) as refused:
        await adapter.connect()
    assert password not in f"{refused.value!r} {refused.value.__cause__!r} {adapter._client.address!r}"


async def test_a_user_with_few_permissions_is_told_which_it_lacks_and_can_still_consume(bench: Bench) -> None:
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    admin = await bench.adapter()
    address = await bench.queue(admin)
    await bench.ask("ACL", "SETUSER", user, "on", f">{password}", "~msgbus:*", "+@all", "-@admin", "-xadd", "-info")
    adapter = await bench.adapter(f"redis://{user}:{password}@127.0.0.1:{bench.raw.address.port}")
    await adapter.connect()
    (verdict,) = await adapter.publish([bench.message(address)], 5.0)
    assert isinstance(verdict, AccessRefused)
    assert str(address) in str(verdict)
    consumer = await bench.consumer(adapter, address)
    waiting = asyncio.create_task(consumer.receive({address: 1}, 20.0))
    await take_turns()
    consumer.wake()
    assert await waiting == []
    await bench.publish(admin, address, "a")
    assert bodies(await take(consumer, address, 1)) == ["a"]


async def test_a_server_that_would_evict_queues_is_refused() -> None:
    with serving(**{"maxmemory-policy": "allkeys-lru"}) as server:
        async with bench_on(server) as bench:
            with pytest.raises(ConfigurationError, match="noeviction"):
                await (await bench.adapter()).connect()


async def test_a_server_without_append_only_file_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with serving(appendonly="no") as server:
        async with bench_on(server) as bench:
            await (await bench.adapter()).connect()
    assert [record.levelname for record in caplog.records if "appendonly" in record.message] == ["WARNING"]


async def test_nobody_there_is_unavailable_and_names_the_host(bench: Bench) -> None:
    adapter = await bench.adapter("redis://127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match=re.escape("127.0.0.1:1")):
        await adapter.connect()
    (verdict,) = await adapter.publish([bench.message(bench.address())], 2.0)
    assert isinstance(verdict, BrokerUnavailable)
    assert not verdict.uncertain


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://a,b",
        "redis://a/name",
        "rediss://a?ca=/nowhere",
        "redis://a?service=b",
        "redis+sentinel://a",
        "redis+sentinel://?service=b",
    ],
)
async def test_a_url_that_cannot_be_meant_is_refused_before_any_io(url: str) -> None:
    parsed = BrokerURL.parse(url)
    with pytest.raises(ConfigurationError):
        RedisAdapter(parsed, RedisOptions(**dict(parsed.params)))


async def test_databases_and_prefixes_keep_apart(bench: Bench) -> None:
    one = await bench.adapter(f"{bench.server.url.removesuffix('/0')}/3", prefix="mine")
    address = await bench.queue(one)
    (verdict,) = await (await bench.adapter()).publish([bench.message(address)], 5.0)
    assert isinstance(verdict, QueueNotFound)
    await bench.publish(one, address, "a")
    consumer = await bench.consumer(one, address)
    assert bodies(await take(consumer, address, 1)) == ["a"]


async def test_foreign_entries_are_messages_too(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    await bench.ask("XADD", key(address), "*", "order", "17")
    await bench.ask("XADD", key(address), "*", "body", "x", "headers", json.dumps({"a": "b"}))
    consumer = await bench.consumer(adapter, address)
    got = [one.message for one in await take(consumer, address, 2)]
    assert got[0].json() == {"order": "17"}
    assert (got[1].body, got[1].headers, got[1].id) == (b"x", {"a": "b"}, got[1].origin)
