"""The batches of a Kafka producer and the lanes that fill them: order, sequence numbers, and how each ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from msgbus_kafka.aiokafka_internals.accumulator import Accumulator
from msgbus_kafka.producer.partition_writer import PartitionWriter
from tests.support.kafka.observed_records import Put, ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus_kafka.aiokafka_internals.accumulator import Batch
    from msgbus_kafka.producer.record import Record

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1)
ELSEWHERE = TopicPartition("payments", 0)
SIZE = 1000
PATIENCE = 0.05
LARGE = b"x" * 600
"""The body of a record that no other goes into one batch with."""


class Leaders:
    """As metadata has them: node 1 leads whatever is not said otherwise."""

    def __init__(self) -> None:
        self.of: dict[TopicPartition, int | None] = {}

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.of.get(partition, 1)


@pytest.fixture
async def leaders() -> Leaders:
    """Of all partitions."""
    return Leaders()


@pytest.fixture
async def batches(leaders: Leaders) -> Accumulator:
    """Those of producer 7 in its epoch 3."""
    sequences = TransactionManager(None, 1000)
    sequences.set_pid_and_epoch(7, 3)
    return Accumulator(leaders, sequences, SIZE, PATIENCE)


def lane(batches: Accumulator, partition: TopicPartition = ONE) -> PartitionWriter:
    """Goes on as soon as it may."""
    return PartitionWriter(batches, partition, ended, lambda itself: itself.resume())


def taken(batches: Accumulator) -> dict[TopicPartition, Batch]:
    """What the sender would send to the only node."""
    nodes, _ = batches.take((), ())
    return nodes.get(1, {})


async def out_of_patience(batches: Accumulator) -> None:
    """With the leader of ONE."""
    while not batches.waiting[ONE][0].waits_longer_than(PATIENCE):
        await asyncio.sleep(0.01)  # its time passes, and nobody is told


def first_sequence(batch: Batch) -> int:
    """The number of its first record, as the server reads it."""
    read: Any = MemoryRecords(bytes(batch.data)).next_batch()
    assert (read.producer_id, read.producer_epoch) == (7, 3)
    sequence: int = read.base_sequence
    return sequence


async def test_a_batch_lies_on_the_wire_as_aiokafka_writes_it(batches: Accumulator) -> None:
    records = [Put(), Put(b""), Put(b"y" * 200)]
    for record in records:
        lane(batches).put(record)
    theirs = BatchBuilder(SIZE, 0)
    (batch,) = taken(batches).values()
    written: Any = MemoryRecords(bytes(batch.data)).next_batch()
    for record, one in zip(records, written, strict=True):
        theirs.append(timestamp=one.timestamp, key=record.key, value=record.message.body, headers=record.headers)
    theirs._set_producer_state(7, 3, 0)
    assert batch.data == theirs._build()


async def test_records_of_a_partition_are_numbered_on_from_batch_to_batch(batches: Accumulator) -> None:
    orders, others = lane(batches), lane(batches, OTHER)
    for _ in range(3):
        orders.put(Put())
    others.put(Put())
    first = taken(batches)
    orders.put(Put())
    others.put(Put())
    second = taken(batches)
    assert [first_sequence(first[where]) for where in (ONE, OTHER)] == [0, 0]
    assert [first_sequence(second[where]) for where in (ONE, OTHER)] == [3, 1]


async def test_what_finds_no_room_waits_and_goes_on_in_order_when_the_batch_has_left(batches: Accumulator) -> None:
    orders = lane(batches)
    records = [Put(LARGE), Put(LARGE), Put(), Put()]
    for record in records:
        orders.put(record)
    assert [record.sent for record in records] == [True, False, False, False]
    first = taken(batches)[ONE]
    assert not any(record.sent for record in records[1:])  # the sender still looks at what there is
    await asyncio.sleep(0)
    assert all(record.sent for record in records)
    second = taken(batches)[ONE]
    assert [first.records, second.records] == [records[:1], records[1:]]


async def test_one_record_larger_than_a_batch_is_one_of_its_own(batches: Accumulator) -> None:
    lane(batches).put(Put(b"x" * 5 * SIZE))
    assert len(taken(batches)[ONE].data) > 5 * SIZE


async def test_who_gave_up_while_it_waited_for_room_is_not_sent(batches: Accumulator) -> None:
    orders = lane(batches)
    given_up, stays = Put(LARGE), Put()
    for record in (Put(LARGE), given_up, stays):
        orders.put(record)
    given_up.call.over = True
    taken(batches)
    await asyncio.sleep(0)
    assert taken(batches)[ONE].records == [stays]


async def test_what_is_sent_again_is_the_same_and_stands_before_what_came_after_it(batches: Accumulator) -> None:
    orders = lane(batches)
    orders.put(Put())
    first = taken(batches)[ONE]
    data = bytes(first.data)
    orders.put(Put())
    batches.reenqueue(first)
    orders.put(Put())  # into the second
    assert taken(batches) == {ONE: first}
    assert first.data == data
    first.done()
    second = taken(batches)[ONE]
    assert (first_sequence(second), len(second.records)) == (1, 2)


async def test_nothing_is_added_to_what_is_sent_again(batches: Accumulator) -> None:
    orders = lane(batches)
    orders.put(Put())
    first = taken(batches)[ONE]
    batches.reenqueue(first)
    later = Put()
    orders.put(later)
    assert not later.sent
    taken(batches)
    await asyncio.sleep(0)
    assert later.sent
    assert len(first.records) == 1


async def test_muted_partitions_and_busy_nodes_keep_what_they_have(batches: Accumulator, leaders: Leaders) -> None:
    leaders.of[OTHER] = 2
    for where in (ONE, OTHER, ELSEWHERE):
        lane(batches, where).put(Put())
    nodes, leaderless = batches.take({2}, {ONE})
    assert {node: list(of_node) for node, of_node in nodes.items()} == {1: [ELSEWHERE]}
    assert not leaderless
    assert list(batches.waiting) == [ONE, OTHER]


@pytest.mark.parametrize("nobody", [None, -1])
async def test_who_has_no_leader_for_too_long_fails_alone(
    batches: Accumulator, leaders: Leaders, nobody: int | None
) -> None:
    leaders.of[ONE] = nobody
    record, other = Put(), Put()
    lane(batches).put(record)
    assert batches.take((), ()) == ({}, True)
    assert not record.confirmed.done()
    lane(batches, OTHER).put(other)
    await out_of_patience(batches)
    nodes, leaderless = batches.take((), ())
    assert leaderless
    assert list(nodes[1]) == [OTHER]
    with pytest.raises(LeaderNotAvailableError):
        await record.confirmed
    assert not other.confirmed.done()


async def test_what_a_verdict_puts_while_the_sender_takes_wakes_it_again(
    batches: Accumulator, leaders: Leaders
) -> None:
    def again(_: Sequence[Record], __: BaseException | None) -> None:
        lane(batches, OTHER).put(Put())

    leaders.of[ONE] = None
    PartitionWriter(batches, ONE, again, lambda itself: itself.resume()).put(Put())
    await out_of_patience(batches)
    batches.take((), ())
    assert batches.waiter().done()
    assert OTHER in batches.waiting


async def test_a_topic_that_is_gone_fails_alone(batches: Accumulator) -> None:
    gone, more, stays = Put(), Put(), Put()
    lane(batches).put(gone)
    lane(batches, OTHER).put(more)
    lane(batches, ELSEWHERE).put(stays)
    batches.fail_topic("orders", UnknownTopicOrPartitionError())
    for record in (gone, more):
        with pytest.raises(UnknownTopicOrPartitionError):
            await record.confirmed
    assert list(taken(batches)) == [ELSEWHERE]


async def test_what_comes_after_a_failed_batch_is_in_another(batches: Accumulator) -> None:
    orders = lane(batches)
    orders.put(Put())
    failed = batches.waiting[ONE][0]
    batches.fail_topic("orders", UnknownTopicOrPartitionError())
    record = Put()
    orders.put(record)
    batch = taken(batches)[ONE]
    assert batch is not failed
    assert batch.records == [record]


async def test_after_everything_has_failed_no_request_brings_anything_back(batches: Accumulator) -> None:
    under_way, waits = Put(), Put()
    lane(batches).put(under_way)
    batch = taken(batches)[ONE]
    lane(batches, OTHER).put(waits)
    batches.fail_all(KafkaConnectionError())
    batches.reenqueue(batch)
    batch.done()
    for record in (under_way, waits):
        with pytest.raises(KafkaConnectionError):
            await record.confirmed
    assert not taken(batches)


async def test_closing_waits_for_what_waits_and_for_what_is_under_way(batches: Accumulator) -> None:
    await batches.close()
    lane(batches).put(Put())
    first = taken(batches)[ONE]
    lane(batches).put(Put())
    closing = asyncio.ensure_future(batches.close())
    await asyncio.sleep(0)
    first.done()
    await asyncio.sleep(0)
    assert not closing.done()
    taken(batches)[ONE].failure(KafkaConnectionError())
    await closing
