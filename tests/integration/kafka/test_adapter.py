"""KafkaAdapter on a real server: sharing, rebalancing, refused access, and a server or topic that disappears."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiokafka.protocol.admin import CreatePartitionsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.headers import BODY_MAX_BYTES
from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    BrokerUnavailable,
    ConfigurationError,
    MessageTooLarge,
    PublishUnknown,
    QueueConflict,
    QueueNotFound,
)
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.aiokafka_internals import verify
from msgbus_kafka.producer.partitioner import Partitioner
from tests.support.adapters.kafka_group import DEADLINE, Group, connected, delete, made, message, name, publish

if TYPE_CHECKING:
    from tests.support.servers.native import NativeServer


@pytest.fixture(params=["fast", "send_batch"])
def producer_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The producer path; the second is what a missing part of aiokafka leads to."""
    if request.param == "send_batch":
        monkeypatch.setattr(verify, "fast_producer_problem", lambda: "aiokafka 0.0 has no Sender._sender_routine")
    return str(request.param)


both_paths = pytest.mark.usefixtures("producer_path")


# Queues.


async def test_a_new_queue_can_be_published_to_by_others_at_once(adapter: KafkaAdapter, server: NativeServer) -> None:
    other = KafkaAdapter(BrokerURL.parse(server.url), KafkaOptions())
    await other.connect()
    for _ in range(10):
        await publish(other, await made(adapter), ["one"])
    await other.close()


async def test_an_existing_queue_in_another_shape_is_a_conflict_that_names_each_setting(adapter: KafkaAdapter) -> None:
    queue = await made(adapter, partitions=2)
    await adapter.create_queues([QueueSpec(address=queue)])
    with pytest.raises(QueueConflict, match=r"partitions is 2, not 3.*retention\.ms is \d+, not 5000"):
        await adapter.create_queues([QueueSpec(address=queue, partitions=3, retention=5)])
    await adapter.create_queues([QueueSpec(address=queue, partitions=2)])


async def test_a_setting_that_kafka_does_not_know_is_named(adapter: KafkaAdapter) -> None:
    with pytest.raises(ConfigurationError, match=r"nonsense"):
        await adapter.create_queues([QueueSpec(address=name(), native={"nonsense.ms": "1"})])


async def test_two_names_that_kafka_takes_for_one_are_a_conflict(adapter: KafkaAdapter) -> None:
    queue = await made(adapter, "with.dot")
    with pytest.raises(QueueConflict, match="collides"):
        await adapter.create_queues([QueueSpec(address=Address(str(queue).replace(".", "_")))])


async def test_lag_counts_what_no_member_has_finished(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=2)
    await publish(adapter, queue, range(10))
    lag = await adapter.lag(queue, group.name)
    assert (lag.total, lag.partitions) == (10, {0: 5, 1: 5})
    member = await group.member(queue)
    await group.until_handled(range(10))
    await member.leave()
    assert (await adapter.lag(queue, group.name)).total == 0
    with pytest.raises(QueueNotFound):
        await adapter.lag(name(), group.name)


# Publishing.


async def test_a_missing_queue_is_refused_not_made_and_holds_up_no_other(adapter: KafkaAdapter) -> None:
    missing, queue = name("missing"), await made(adapter)
    first, second = await adapter.publish([message(missing, "1"), message(queue, "2")], 10)
    assert isinstance(first, QueueNotFound)
    assert "create_queue()" in str(first)
    assert second is None
    assert (await adapter._cluster.topic_states([str(missing)]))[str(missing)].missing


@both_paths
async def test_a_message_over_the_queues_own_limit_is_refused_and_those_after_it_are_not(adapter: KafkaAdapter) -> None:
    small = await made(adapter, native={"max.message.bytes": "20000"})
    sizes = [15_000, 30_000, 15_000, 19_500, 20_000, 100]
    verdicts = await adapter.publish([message(small, str(size), b"x" * size) for size in sizes], 10)
    assert [isinstance(verdict, MessageTooLarge) for verdict in verdicts] == [False, True, False, False, True, False]
    assert verdicts.count(None) == 4


@both_paths
async def test_the_largest_message_of_msgbus_fits(adapter: KafkaAdapter) -> None:
    queue = await made(adapter)
    headers = {f"{number:03}" + "n" * 100: "v" * 150 for number in range(120)}
    largest = Outgoing(queue, "id", 0, b"x" * BODY_MAX_BYTES, "k" * 1000, headers)
    assert await adapter.publish([largest], 10) == [None]


@both_paths
async def test_thousands_of_publishers_at_once_keep_the_order_of_their_calls(
    adapter: KafkaAdapter, group: Group
) -> None:
    queue = await made(adapter, partitions=4)
    calls = [adapter.publish([message(queue, str(id), key=str(id % 7))], DEADLINE) for id in range(3000)]
    assert {verdict for verdicts in await asyncio.gather(*calls) for verdict in verdicts} == {None}
    await group.member(queue)
    await group.until_handled(range(3000))
    for key in map(str, range(7)):
        ids = [int(one.id) for one in group.handled if one.key == key]
        assert ids == sorted(ids)


@both_paths
async def test_more_than_a_batch_holds_waits_in_its_order(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    many = [[message(queue, str(id + place), b"x" * 5000) for place in range(100)] for id in range(0, 1000, 100)]
    answers = await asyncio.gather(*(adapter.publish(some, DEADLINE) for some in many))
    assert not any(verdict for verdicts in answers for verdict in verdicts)
    await group.member(queue, limit=2000)
    await group.until_handled(range(1000))
    assert [int(one.id) for one in group.handled] == list(range(1000))


@both_paths
async def test_a_queue_deleted_under_its_publisher_is_not_found(adapter: KafkaAdapter) -> None:
    queue, other = await made(adapter), await made(adapter)
    await publish(adapter, queue, [1])
    await delete(adapter, queue)
    gone, well = None, None
    async with asyncio.timeout(10):
        while gone is None:  # deleting is under way when it is answered: a message may be confirmed meanwhile
            gone, well = await adapter.publish([message(queue, "2"), message(other, "2")], DEADLINE)
    assert isinstance(gone, QueueNotFound)
    assert well is None


@both_paths
async def test_a_refused_batch_does_not_break_the_queue_for_ever(adapter: KafkaAdapter) -> None:
    queue = await made(adapter, partitions=1, native={"max.message.bytes": "20000"})
    adapter._topics._limits[str(queue)] = 10**6  # it was lowered after it was looked at
    (refused,) = await adapter.publish([message(queue, "1", b"x" * 50_000)], 10)
    assert isinstance(refused, MessageTooLarge)
    await publish(adapter, queue, range(20))


@both_paths
async def test_small_messages_of_a_batch_that_was_too_large_may_be_tried_again(adapter: KafkaAdapter) -> None:
    queue = await made(adapter, partitions=1, native={"max.message.bytes": "20000"})
    adapter._topics._limits[str(queue)] = 10**6
    several = [message(queue, str(id), b"x" * 15_000) for id in range(40)]
    refused = await adapter.publish(several, 10)
    assert all(isinstance(verdict, BrokerUnavailable) and not verdict.uncertain for verdict in refused if verdict)
    assert any(refused)
    again = await adapter.publish([one for one, verdict in zip(several, refused, strict=True) if verdict], 10)
    assert not any(again)
    assert (await adapter.lag(queue, "nobody")).total == 40


# Sessions.


async def test_members_share_and_what_they_hold_is_finished_when_others_come_and_go(
    adapter: KafkaAdapter, group: Group
) -> None:
    queue = await made(adapter)
    members = [await group.member(queue)]
    for turn in range(12):
        ids = [f"{turn}-{number}" for number in range(40)]
        await publish(adapter, queue, ids)
        if turn % 3 == 2:
            await members.pop(0).leave()
        else:
            members.append(await group.member(queue))
    await group.until_handled(f"{turn}-{number}" for turn in range(12) for number in range(40))
    assert group.repeated == 0
    assert len({one.member for one in group.handled}) > 2


async def test_a_drain_ends_before_another_member_gets_the_partition(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=2)
    first = await group.member(queue)
    first.holding = True
    await publish(adapter, queue, range(20))
    await group.until(lambda: len(first.held) == 20, "holding all")
    await group.member(queue)
    first.holding = False
    await publish(adapter, queue, range(20, 40))
    await group.until_handled(range(40))
    assert ("ending", 2) in first.calls
    assert group.repeated == 0


async def test_a_queue_that_is_removed_goes_to_the_other_members(adapter: KafkaAdapter, group: Group) -> None:
    one, two = await made(adapter), await made(adapter)
    first, second = await group.member(one, two), await group.member(one, two)
    await first.subscribe({one: 10})
    await publish(adapter, two, range(50))
    await group.until_handled(range(50))
    assert {handled.member for handled in group.handled} == {second}
    await first.subscribe({})
    await publish(adapter, one, range(50, 100))
    await group.until_handled(range(100))
    assert {handled.member for handled in group.handled} == {second}
    assert not first.sessions
    assert group.repeated == 0


async def test_a_map_that_differs_only_in_limits_rebalances_nothing(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue, limit=5)
    sessions = set(member.sessions)
    member.holding = True
    await member.subscribe({queue: 8})
    await publish(adapter, queue, range(30))
    await group.until(lambda: len(member.held) == 8, "holding the new limit")
    assert member.sessions == sessions
    assert not member.calls


async def test_a_missing_queue_is_named_and_found_when_it_is_made(adapter: KafkaAdapter, group: Group) -> None:
    queue, later = await made(adapter), name("later")
    member = await group.member(queue)
    assert await member.subscribe({queue: 10, later: 10}) == {later}
    await publish(adapter, queue, ["early"])
    await group.until_handled(["early"])
    await adapter.create_queues([QueueSpec(address=later)])
    assert await member.subscribe({queue: 10, later: 10}) == set()
    await publish(adapter, later, ["late"])
    await group.until_handled(["late"])


async def test_a_stuck_message_stops_its_partition_at_the_limit_and_no_other(
    adapter: KafkaAdapter, group: Group
) -> None:
    queue = await made(adapter, partitions=2)
    member = await group.member(queue, limit=10)
    member.holding = True
    place = partial(Partitioner().partition, partitions=range(2), available=())
    key = next(key for key in "bcdefgh" if place(key.encode()) != place(b"a"))
    await publish(adapter, queue, range(100, 140), key=key)
    await group.until(lambda: len(member.held) == 10, "the limit")
    stuck = member.held[0].session
    member.holding = False
    await publish(adapter, queue, range(100), key="a")
    await group.until_handled(range(100))
    assert {delivery.session for delivery in member.held} == {stuck}
    assert len(member.held) == 10


async def test_a_check_of_topics_that_fails_ends_nothing_that_is_consumed(
    adapter: KafkaAdapter, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    well, missing, later = await made(adapter), Address(f"{(await made(adapter)).queue}-missing"), await made(adapter)
    member = await group.member(well)
    assert await member.subscribe({well: 10, missing: 10}) == {missing}
    topics = member.consumer._group_state.topics  # type: ignore[attr-defined]  # a KafkaConsumer

    async def unavailable(_: object) -> None:
        raise BrokerUnavailable("no broker answers")

    monkeypatch.setattr(topics, "states", unavailable)
    assert await member.subscribe({well: 10}) == set(), "the missing queue rests"
    assert await member.subscribe({well: 10, missing: 10}) == {missing}, "and is as it was when it is asked for again"
    await member.pause()
    with pytest.raises(BrokerUnavailable, match="no broker"):
        await member.consumer.subscribe({well: 10, later: 10})


async def test_added_partitions_are_found(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue)
    await adapter._cluster.send(CreatePartitionsRequest([(str(queue), (3, None))], 5000, validate_only=False))
    member.consumer._client._client.force_metadata_update()  # type: ignore[attr-defined]  # else within a minute
    await group.until(lambda: len(member.sessions) == 3, "three sessions")


async def test_acknowledging_after_the_end_changes_nothing(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    first = await group.member(queue)
    first.holding = True
    await publish(adapter, queue, range(5))
    await group.until(lambda: len(first.held) == 5, "holding all")
    late, first.held, first.holding = first.held, [], False
    await group.member(queue)
    await group.until_handled(range(5))
    await first.consumer.acknowledge(late)
    assert not any(delivery.session.dirty for delivery in late)  # type: ignore[attr-defined]


# The server goes.


async def test_a_restart_of_the_server_costs_nothing_that_was_committed(
    adapter: KafkaAdapter, server: NativeServer, group: Group
) -> None:
    queue = await made(adapter)
    await group.member(queue)
    await publish(adapter, queue, range(100))
    await group.until_handled(range(100))
    lag = await adapter.lag(queue, group.name)
    while lag.total:
        lag = await adapter.lag(queue, group.name)
    server.kill()
    publishing = asyncio.create_task(adapter.publish([message(queue, "meanwhile")], DEADLINE))
    await asyncio.to_thread(server.run)
    assert await publishing == [None]
    await publish(adapter, queue, range(100, 200))
    await group.until_handled(["meanwhile", *range(200)])
    assert group.repeated == 0


@both_paths
async def test_a_frozen_server_makes_a_publish_unknown_at_the_deadline_and_one_message(
    adapter: KafkaAdapter, server: NativeServer, group: Group
) -> None:
    queue = await made(adapter)
    await publish(adapter, queue, ["before"])
    server.pause()
    started = asyncio.get_running_loop().time()
    (verdict,) = await adapter.publish([message(queue, "frozen")], 1.5)
    assert isinstance(verdict, PublishUnknown)
    assert asyncio.get_running_loop().time() - started < 3
    server.resume()
    await publish(adapter, queue, ["after"])
    await group.member(queue)
    await group.until_handled(["before", "frozen", "after"])
    assert group.repeated == 0


@both_paths
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_closing_takes_seconds_when_the_server_is_gone(server: NativeServer, how: str) -> None:
    async with connected(server) as adapter, AsyncExitStack() as stack:
        group = Group(adapter, stack)
        queue = await made(adapter)
        member = await group.member(queue)
        await publish(adapter, queue, range(10))
        await group.until_handled(range(10))
        getattr(server, how)()
        pending = asyncio.create_task(adapter.publish([message(queue, "pending")], DEADLINE))
        started = asyncio.get_running_loop().time()
        await member.leave(1.0)
        await adapter.close()
        assert asyncio.get_running_loop().time() - started < 15
        (verdict,) = await pending
        assert isinstance(verdict, BrokerUnavailable)
        assert verdict.uncertain
    server.resume()


async def test_a_dead_server_is_named(server: NativeServer) -> None:
    server.kill()
    adapter = KafkaAdapter(BrokerURL.parse(server.url), KafkaOptions())
    with pytest.raises(BrokerUnavailable, match=server.url.removeprefix("kafka://")):
        await adapter.connect()
    await adapter.close()
    server.run()


async def test_a_member_that_its_group_has_given_up_loses_its_sessions(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue)
    member.holding = True
    await publish(adapter, queue, range(5))
    await group.until(lambda: len(member.held) == 5, "holding all")
    late, member.holding = list(member.held), False
    coordinator = member.consumer._client._coordinator  # type: ignore[attr-defined]
    await adapter._cluster.send(LeaveGroupRequest(group.name, coordinator.member_id), coordinator.coordinator_id)
    await group.until(lambda: bool(member.calls), "the end of the session")
    assert member.calls == [("lost", 1)]
    await member.consumer.acknowledge(late)
    await group.until_handled(range(5))
