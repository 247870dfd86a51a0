"""Batches of a producer: their bytes, order and sequence numbers, and how each ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from msgbus_kafka.producer.partition_writer import PartitionWriter
from tests.support.kafka.accumulators import BATCH_BYTES, BATCH_TIMEOUT_SECONDS, ONE, OTHER, Leaders, taken, writer
from tests.support.kafka.observed_records import Put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus_kafka.aiokafka_internals.accumulator import Accumulator, Batch
    from msgbus_kafka.producer.record import Record

ELSEWHERE = TopicPartition("payments", 0)


async def until_batch_is_too_old(batches: Accumulator) -> None:
    """With the leader of ONE."""
    while not batches.waiting[ONE][0].waits_longer_than(BATCH_TIMEOUT_SECONDS):
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
        writer(batches).put(record)
    theirs = BatchBuilder(BATCH_BYTES, 0)
    (batch,) = taken(batches).values()
    written: Any = MemoryRecords(bytes(batch.data)).next_batch()
    for record, one in zip(records, written, strict=True):
        theirs.append(timestamp=one.timestamp, key=record.key, value=record.message.body, headers=record.headers)
    theirs._set_producer_state(7, 3, 0)
    assert batch.data == theirs._build()


async def test_records_of_a_partition_are_numbered_on_from_batch_to_batch(batches: Accumulator) -> None:
    orders, others = writer(batches), writer(batches, OTHER)
    for _ in range(3):
        orders.put(Put())
    others.put(Put())
    first = taken(batches)
    orders.put(Put())
    others.put(Put())
    second = taken(batches)
    assert [first_sequence(first[where]) for where in (ONE, OTHER)] == [0, 0]
    assert [first_sequence(second[where]) for where in (ONE, OTHER)] == [3, 1]


async def test_what_is_sent_again_is_the_same_and_stands_before_what_came_after_it(batches: Accumulator) -> None:
    orders = writer(batches)
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


async def test_muted_partitions_and_busy_nodes_keep_what_they_have(batches: Accumulator, leaders: Leaders) -> None:
    leaders.of[OTHER] = 2
    for where in (ONE, OTHER, ELSEWHERE):
        writer(batches, where).put(Put())
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
    writer(batches).put(record)
    assert batches.take((), ()) == ({}, True)
    assert not record.confirmed.done()
    writer(batches, OTHER).put(other)
    await until_batch_is_too_old(batches)
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
        writer(batches, OTHER).put(Put())

    leaders.of[ONE] = None
    PartitionWriter(batches, ONE, again, lambda itself: itself.resume()).put(Put())
    await until_batch_is_too_old(batches)
    batches.take((), ())
    assert batches.waiter().done()
    assert OTHER in batches.waiting


async def test_a_topic_that_is_gone_fails_alone(batches: Accumulator) -> None:
    gone, more, stays = Put(), Put(), Put()
    writer(batches).put(gone)
    writer(batches, OTHER).put(more)
    writer(batches, ELSEWHERE).put(stays)
    batches.fail_topic("orders", UnknownTopicOrPartitionError())
    for record in (gone, more):
        with pytest.raises(UnknownTopicOrPartitionError):
            await record.confirmed
    assert list(taken(batches)) == [ELSEWHERE]


async def test_after_everything_has_failed_no_request_brings_anything_back(batches: Accumulator) -> None:
    under_way, waits = Put(), Put()
    writer(batches).put(under_way)
    batch = taken(batches)[ONE]
    writer(batches, OTHER).put(waits)
    batches.fail_all(KafkaConnectionError())
    batches.reenqueue(batch)
    batch.done()
    for record in (under_way, waits):
        with pytest.raises(KafkaConnectionError):
            await record.confirmed
    assert not taken(batches)


async def test_closing_waits_for_what_waits_and_for_what_is_under_way(batches: Accumulator) -> None:
    await batches.close()
    writer(batches).put(Put())
    first = taken(batches)[ONE]
    writer(batches).put(Put())
    closing = asyncio.ensure_future(batches.close())
    await asyncio.sleep(0)
    first.done()
    await asyncio.sleep(0)
    assert not closing.done()
    taken(batches)[ONE].failure(KafkaConnectionError())
    await closing
