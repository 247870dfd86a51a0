"""Defects of aiokafka and errors of a broker, provoked, and how the adapter handles them.

Errors that a healthy broker does not give are put into its responses on their way in. Not provoked here:

- a topic that is deleted, re-created and filled beyond the old position between two fetches: aiokafka's version of the
  protocol has no topic ids, so a client cannot tell,
- an election of a replica that lagged: its classification is a unit test,
- a half-open network between machines: a frozen broker stands for it,
- a full disk, and quotas.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest

import msgbus_kafka.consumer.partition_session
import msgbus_kafka.consumer.stall_watchdog
from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.url import BrokerURL
from msgbus.errors import AccessRefused, BrokerUnavailable, DeadLettersLocked
from msgbus.testing import Harness, Probe
from msgbus.testing.probe import within
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.admin.client import AdminClient
from msgbus_kafka.admin.groups import commit_offsets
from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of
from msgbus_kafka.producer.partition_writer import PartitionWriter
from tests.support.adapters.kafka_group import DEADLINE, SESSION, Group, Member, delete, made, message, publish
from tests.support.kafka.observed_records import Put
from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.servers.server import Server


@pytest.fixture
async def adapter(kafka_server: Server) -> AsyncIterator[KafkaAdapter]:
    adapter = KafkaAdapter(BrokerURL.parse(kafka_server.url), KafkaOptions(session_timeout=SESSION))
    await adapter.connect()
    yield adapter
    await adapter.close()


class Answers:
    """The coordinator's answers to requests of one kind, changed on their way to a member's client."""

    def __init__(self, member: Member, kind: type[Any], change: Callable[[Any], None], times: int = 1_000_000) -> None:
        self.changed = 0
        self.seen = asyncio.Event()
        self._times = times
        client = member.consumer._client._client  # type: ignore[attr-defined]
        send = client.send

        async def changing(node: Any, request: Any, **how: Any) -> Any:
            answer = await send(node, request, **how)
            if isinstance(request, kind) and self.changed < self._times:
                self.changed += 1
                change(answer)
                self.seen.set()
            return answer

        client.send = changing

    def stop(self) -> None:
        """Change no more."""
        self._times = 0

    async def until_changed(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.changed < count:
                self.seen.clear()
                await self.seen.wait()


async def opened(group: Group) -> Member:
    """A member that is subscribed to nothing yet."""
    return await group.member()


async def until_it_ends(member: Member, queue: Address) -> None:
    """Receive nothing, for as long as nothing is raised."""
    async with asyncio.timeout(DEADLINE):
        while True:
            assert not await member.consumer.receive({queue: 10}, 0.5)


def whole(code: int) -> Callable[[Any], None]:
    """An OffsetFetch answer about no topic, with an error for the group."""

    def change(answer: Any) -> None:
        answer.error_code, answer.topics = code, []

    return change


def of_partitions(code: int) -> Callable[[Any], None]:
    """An OffsetFetch answer with an error for each partition."""

    def change(answer: Any) -> None:
        answer.topics = [(topic, [(one, -1, "", code) for one, *_ in rows]) for topic, rows in answer.topics]

    return change


# Where a partition begins.


@pytest.mark.parametrize("how", [whole, of_partitions])
@pytest.mark.parametrize("code", [7, 14, 15, 16])
async def test_commits_that_cannot_be_told_yet_are_never_taken_for_none(
    adapter: KafkaAdapter, group: Group, code: int, how: Callable[[int], Callable[[Any], None]]
) -> None:
    queue = await made(adapter, partitions=1)
    await publish(adapter, queue, range(100))
    await commit_offsets(adapter._cluster, str(queue), group.name, {0: 50})
    member = await opened(group)
    answers = Answers(member, OffsetFetchRequest, how(code), times=2)
    await member.subscribe({queue: 100})
    await group.until_handled(range(50, 100))
    assert answers.changed == 2
    assert [one.id for one in group.handled] == [str(n) for n in range(50, 100)]


async def test_a_group_that_may_not_be_read_is_refused_and_not_reset(adapter: KafkaAdapter, group: Group) -> None:
    queue = await made(adapter, partitions=1)
    await publish(adapter, queue, range(10))
    member = await opened(group)
    await member.pause()
    Answers(member, OffsetFetchRequest, whole(30))
    await member.consumer.subscribe({queue: 100})
    with pytest.raises(AccessRefused, match="GroupAuthorization"):
        await until_it_ends(member, queue)


async def test_an_answer_that_forgets_the_commit_is_caught_by_the_first_record(
    adapter: KafkaAdapter, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    queue = await made(adapter, partitions=1)
    first = await group.member(queue)
    await publish(adapter, queue, range(50))
    await group.until_handled(range(50))
    await first.leave()
    await publish(adapter, queue, range(50, 60))
    member = await opened(group)
    Answers(member, OffsetFetchRequest, whole(0))
    await member.subscribe({queue: 100})
    await group.until_handled(range(60))
    assert group.repeated == 0
    assert "it began at 0 and not at its commit 50" in caplog.text


async def test_what_retention_took_before_it_was_consumed_is_said(
    adapter: KafkaAdapter, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    from aiokafka.protocol.admin import DeleteRecordsRequest

    queue = await made(adapter, partitions=1)
    await publish(adapter, queue, range(20))
    await commit_offsets(adapter._cluster, str(queue), group.name, {0: 5})
    leader = (await adapter._topics.state(str(queue))).leaders[0]
    answer = await adapter._cluster.send(DeleteRecordsRequest([(str(queue), [(0, 12)])], 5000), leader)
    assert answer.topics[0][1][0][2] == 0
    await group.member(queue)
    await group.until_handled(range(12, 20))
    assert "7 records were deleted by retention before the group consumed them" in caplog.text


async def test_what_a_transaction_took_back_is_not_delivered_and_its_markers_hold_up_nothing(
    adapter: KafkaAdapter, kafka_server: Server, group: Group
) -> None:
    queue = await made(adapter, partitions=1)
    servers = kafka_server.url.removeprefix("kafka://")
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=group.name) as producer:
        for number in range(6):
            await producer.begin_transaction()
            await producer.send(str(queue), str(number).encode(), headers=[("msgbus-id", str(number).encode())])
            await (producer.commit_transaction() if number % 2 else producer.abort_transaction())
    await group.member(queue, limit=2)
    await publish(adapter, queue, ["after"])
    await group.until_handled(["after"])
    assert [one.id for one in group.handled] == ["1", "3", "5", "after"]


# Committing.


async def test_what_is_not_committed_is_bounded(
    adapter: KafkaAdapter, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msgbus_kafka.consumer.partition_session, "MAX_UNCOMMITTED_OFFSETS", 20)
    queue = await made(adapter, partitions=1)
    member = await opened(group)

    def refuse(answer: Any) -> None:
        answer.topics = [(topic, [(one, 14) for one, _ in rows]) for topic, rows in answer.topics]

    answers = Answers(member, OffsetCommitRequest, refuse)
    await member.subscribe({queue: 100})
    await publish(adapter, queue, range(100))
    await group.until_handled(range(20))
    await answers.until_changed(answers.changed + 3)
    assert len(group.handled) == 20
    answers.stop()
    await group.until_handled(range(100))
    assert group.repeated == 0


async def test_a_late_commit_is_refused_before_the_member_comes_back_and_not_made_after(
    adapter: KafkaAdapter, group: Group
) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue)
    member.holding = True
    await publish(adapter, queue, range(20))
    await group.until(lambda: len(member.held) == 20, "holding all")
    late, member.holding = list(member.held), False
    coordinator = member.consumer._client._coordinator  # type: ignore[attr-defined]
    said: list[int] = []
    Answers(
        member, OffsetCommitRequest, lambda answer: said.extend(code for _, rows in answer.topics for _, code in rows)
    )
    generation = coordinator.generation

    async def no_heartbeat() -> bool:
        return True

    coordinator._do_heartbeat = no_heartbeat  # the next one could tell the member before its commit does
    await adapter._cluster.send(LeaveGroupRequest(group.name, coordinator.member_id), coordinator.coordinator_id)
    await member.consumer.acknowledge(late[:10])
    await group.until(lambda: bool(member.calls), "the end of the session")
    del coordinator._do_heartbeat
    assert said[:1] == [25], "UNKNOWN_MEMBER_ID"
    await group.until(lambda: coordinator.generation > generation, "having come back")
    await group.until_handled(range(20))
    # The broker would take it now: it looks at the member and not at who owns the partition.
    await member.consumer.acknowledge(late[:10])
    async with asyncio.timeout(DEADLINE):
        while (await adapter.lag(queue, group.name)).total:
            await asyncio.sleep(0.05)
    assert set(said[1:]) == {0}


async def test_a_deleted_queue_holds_up_no_commit_of_another(adapter: KafkaAdapter, group: Group) -> None:
    gone, other = await made(adapter, partitions=1), await made(adapter, partitions=1)
    member = await group.member(gone, other)
    member.holding = True
    await publish(adapter, gone, ["gone"])
    await publish(adapter, other, ["other"])
    await group.until(lambda: len(member.held) == 2, "holding both")
    await delete(adapter, gone)
    await member.handle(member.held)
    async with asyncio.timeout(DEADLINE):
        while (await adapter.lag(other, group.name)).total:
            await asyncio.sleep(0.05)


async def test_a_queue_that_is_deleted_and_made_anew_goes_on_from_its_beginning(
    adapter: KafkaAdapter, kafka_server: Server
) -> None:
    probe = Probe()
    async with Harness(f"{kafka_server.url}?session_timeout={SESSION}") as harness:
        queue = await harness.queue("g", partitions=1)
        broker = await harness.member(queue, probe)
        for number in range(20):
            await broker.publish(queue, b"x", message_id=f"old{number}")
        await probe.until_handled(f"old{number}" for number in range(20))
        probe.hold()
        await broker.publish(queue, b"x", message_id="held")
        await probe.until_entered(21)
        await delete(adapter, Address(queue))
        await broker.create_queue(queue, groups=["g"], partitions=1)
        for number in range(5):
            await broker.publish(queue, b"x", message_id=f"new{number}")
        await probe.release()
        await probe.until_handled(f"new{number}" for number in range(5))
        await harness.fence(broker, queue, probe)


# Records that are corrupt.


async def test_a_corrupt_record_stops_its_partition_loudly_and_costs_no_other_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = or_skip(lambda: start_native("kafka"))
    try:
        adapter = KafkaAdapter(BrokerURL.parse(server.url), KafkaOptions(session_timeout=SESSION))
        await adapter.connect()
        bad, good = await made(adapter, partitions=1), await made(adapter, partitions=3)
        for number in range(10):  # each is a batch, with a checksum of its own
            verdicts = await adapter.publish([message(bad, f"bad{number}", b"body-%d" % number)], DEADLINE)
            assert verdicts == [None]
        await publish(adapter, good, range(300))
        (log,) = server.folder.glob(f"**/{bad}-0/*.log")
        place = log.read_bytes().index(b"body-6")
        with log.open("r+b") as file:
            file.seek(place)
            file.write(b"B")
        async with AsyncExitStack() as stack:
            group = Group(adapter, stack)
            member = await group.member(bad, good, limit=500)
            await group.until_handled([*range(300), *(f"bad{number}" for number in range(6))])
            await group.until(lambda: "corrupt on the server" in caplog.text, "saying so")
            await publish(adapter, good, range(300, 600))
            await group.until_handled(range(600))
            assert group.repeated == 0
            assert not {f"bad{number}" for number in range(6, 10)} & {one.id for one in group.handled}
            assert f"queue {bad}, partition 0: a record at offset 6" in caplog.text
            await member.leave()
            await adapter.rewind(bad, group.name, f"{bad}-0@7")
            await group.member(bad)
            await group.until_handled(f"bad{number}" for number in range(7, 10))
        await adapter.close()
    finally:
        server.stop()


# Standing still, and running wild.


async def test_a_consumer_that_gets_nothing_although_there_is_something_is_replaced(
    adapter: KafkaAdapter, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msgbus_kafka.consumer.stall_watchdog, "STALL_CHECK_INTERVAL_SECONDS", 0.3)
    queue = await made(adapter, partitions=1)
    member = await group.member(queue)
    await publish(adapter, queue, ["arrives"])
    await group.until_handled(["arrives"])
    await member.pause()
    assert not await member.consumer.receive({queue: 10}, 1.0), "an idle one is left alone"

    asked = asyncio.Event()

    async def nothing(*partitions: Any, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        del partitions, max_records
        asked.set()
        await asyncio.sleep(timeout_ms / 1000)
        return {}

    member.consumer._client.getmany = nothing  # type: ignore[attr-defined]
    async with asyncio.timeout(DEADLINE):
        await asked.wait()  # the call before it could still bring something
    await publish(adapter, queue, ["stuck"])
    with pytest.raises(BrokerUnavailable, match=f"consumer stalled: {queue}-[0-9]+ has not advanced past offset"):
        await until_it_ends(member, queue)


async def test_a_consumer_without_an_assignment_for_long_is_replaced(
    adapter: KafkaAdapter, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msgbus_kafka.consumer.stall_watchdog, "STALL_CHECK_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(msgbus_kafka.consumer.stall_watchdog, "NO_ASSIGNMENT_TIMEOUT_SECONDS", 0.3)
    queue = await made(adapter, partitions=1)
    member = await group.member(queue)
    await publish(adapter, queue, ["arrives"])
    await group.until_handled(["arrives"])
    await member.pause()
    member.consumer._rebalance.stable.clear()  # type: ignore[attr-defined]
    with pytest.raises(BrokerUnavailable, match="consumer stalled: no assignment"):
        await until_it_ends(member, queue)


async def test_a_newcomer_finds_the_lock_of_dead_letters_taken_whoever_had_it_before(
    adapter: KafkaAdapter, kafka_server: Server
) -> None:
    """Its own process has had the lock before, and remembers nothing of it."""
    address = Address(f"letters-{secrets.token_hex(4)}", "g", "dlq")
    await adapter.create_queues([QueueSpec(address=address)])
    before = await adapter.open_dead_letters(address)
    await before.take(None, 1)
    await before.close()
    other = KafkaAdapter(BrokerURL.parse(kafka_server.url), KafkaOptions(session_timeout=SESSION))
    holder = await other.open_dead_letters(address)
    try:
        await holder.take(None, 1)
        for _ in range(5):  # of two that claim it, the assignor prefers one by their member ids
            newcomer = await adapter.open_dead_letters(address)
            with pytest.raises(DeadLettersLocked, match="dlq"):
                await newcomer.take(None, 1)
            await newcomer.close()
            await holder.take(None, 1)
    finally:
        await holder.close()
        await other.close()


async def test_a_topic_without_leaders_is_asked_for_at_a_walk(
    adapter: KafkaAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    send = AIOKafkaConnection.send

    def counting(self: Any, request: Any, *rest: Any, **how: Any) -> Any:
        if isinstance(request, MetadataRequest):
            asked.append(time.monotonic())
        return send(self, request, *rest, **how)

    queue = await made(adapter, partitions=1)
    await publish(adapter, queue, [1])
    await delete(adapter, queue)
    monkeypatch.setattr(AIOKafkaConnection, "send", counting)
    (line,) = adapter._publisher._slots.values()
    batches = accumulator_of(await line.ready())
    lane = PartitionWriter(batches, TopicPartition(str(queue), 0), lambda *_: None, PartitionWriter.resume)
    async with within(DEADLINE, "the first question"):
        while not asked:
            lane.put(Put())  # taken until the broker has heard that the topic is gone
            await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)  # counted
    line.fail_topic(str(queue))
    assert 5 < len(asked) < 40, "more than 20 a second"


async def test_a_server_that_says_no_node_lives_is_asked_again(
    kafka_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that stood still: once in 20 freezes."""
    told = 0
    ask = AdminClient.send

    async def knowing_none(self: AdminClient, request: Any, *rest: Any, **how: Any) -> Any:
        nonlocal told
        answer = await ask(self, request, *rest, **how)
        if isinstance(request, MetadataRequest) and told < 3:
            answer.brokers = []
            told += 1
        return answer

    monkeypatch.setattr(AdminClient, "send", knowing_none)
    async with Harness(kafka_server.url) as harness:
        queue = await harness.queue("g")
        await (await harness.broker()).publish(queue, "x")
    assert told == 3


async def test_a_partition_whose_leader_says_that_it_is_none_is_fetched_at_a_walk(
    adapter: KafkaAdapter, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await made(adapter, partitions=1)
    await group.member(queue)
    await publish(adapter, queue, ["before"])
    await group.until_handled(["before"])
    asked, enough = 0, asyncio.Event()
    send = AIOKafkaConnection.send

    async def not_the_leader(self: Any, request: Any, *rest: Any, **how: Any) -> Any:
        nonlocal asked
        answer = await send(self, request, *rest, **how)
        if isinstance(request, FetchRequest):
            answer.topics = [(topic, [(row[0], 6, *row[2:]) for row in rows]) for topic, rows in answer.topics]
            asked += 1
            if asked == 25:
                enough.set()
        return answer

    monkeypatch.setattr(AIOKafkaConnection, "send", not_the_leader)
    await publish(adapter, queue, ["after"])
    began = time.monotonic()
    async with asyncio.timeout(DEADLINE):
        await enough.wait()
    assert time.monotonic() - began > 1, "more than 25 a second"
    monkeypatch.undo()
    await group.until_handled(["after"])
    assert group.repeated == 0


async def test_a_member_whose_loop_stood_still_for_longer_than_its_session_comes_back(kafka_server: Server) -> None:
    probe = Probe()
    async with Harness(f"{kafka_server.url}?session_timeout=1.5") as harness:
        queue = await harness.queue("g")
        broker = await harness.member(queue, probe)
        for turn in range(2):
            ids = [f"{turn}-{number}" for number in range(20)]
            for one in ids:
                await broker.publish(queue, b"x", message_id=one, key=one)
            await probe.until_handled(ids)
            lost = broker.session_counts().lost
            time.sleep(3.0)  # noqa: ASYNC251 - this is the fault
            async with within(DEADLINE, "the member noticing"):  # records are read before a heartbeat is answered
                while broker.session_counts().lost == lost:
                    await asyncio.sleep(0.01)  # nobody tells
        await broker.publish(queue, b"x", message_id="after")
        await probe.until_handled(["after"])


async def test_another_assignor_than_the_groups_is_named(
    kafka_server: Server, group: Group, adapter: KafkaAdapter
) -> None:
    queue = await made(adapter, partitions=1)
    await group.member(queue)
    other = KafkaAdapter(BrokerURL.parse(kafka_server.url), KafkaOptions(session_timeout=SESSION, assignor="range"))
    await other.connect()
    member = Member(group.handled, group.changed)
    member.consumer = await other.open_consumer(group.name, member)
    with pytest.raises(BrokerUnavailable, match="assignor="):
        await member.consumer.subscribe({queue: 10})
    await other.close()


class Everything(RoundRobinPartitionAssignor):  # type: ignore[misc]  # aiokafka is untyped
    """All partitions to one member."""

    name = "everything-to-one"

    @classmethod
    def assign(cls, cluster: Any, members: Any) -> Any:
        """See AbstractPartitionAssignor."""
        one = min(members)
        return super().assign(cluster, {one: members[one]}) | {
            other: ConsumerProtocolMemberAssignment(0, [], b"") for other in members if other != one
        }


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky", Everything])
async def test_partitions_are_shared_as_the_assignor_says(kafka_server: Server, assignor: Any) -> None:
    adapters = [
        KafkaAdapter(BrokerURL.parse(kafka_server.url), KafkaOptions(session_timeout=SESSION, assignor=assignor))
        for _ in range(2)
    ]
    async with AsyncExitStack() as stack:
        for one in adapters:
            await one.connect()
            stack.push_async_callback(one.close)
        queue = await made(adapters[0], partitions=6)
        groups = [Group(one, stack) for one in adapters]
        groups[1].name = groups[0].name
        members = [await group.member(queue) for group in groups]
        shares = {0, 6} if assignor is Everything else {3}
        for group in groups:
            await group.until(lambda: {len(one.sessions) for one in members} == shares, "sharing as it says")
