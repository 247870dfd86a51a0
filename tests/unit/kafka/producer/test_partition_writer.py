"""The writer of one partition: what waits for room, and in which order it goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import UnknownTopicOrPartitionError

from tests.support.kafka.accumulators import BATCH_BYTES, LARGE_BODY, ONE, taken, writer
from tests.support.kafka.observed_records import Put

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.accumulator import Accumulator


async def test_what_finds_no_room_waits_and_goes_on_in_order_when_the_batch_has_left(batches: Accumulator) -> None:
    orders = writer(batches)
    records = [Put(LARGE_BODY), Put(LARGE_BODY), Put(), Put()]
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
    writer(batches).put(Put(b"x" * 5 * BATCH_BYTES))
    assert len(taken(batches)[ONE].data) > 5 * BATCH_BYTES


async def test_who_gave_up_while_it_waited_for_room_is_not_sent(batches: Accumulator) -> None:
    orders = writer(batches)
    given_up, stays = Put(LARGE_BODY), Put()
    for record in (Put(LARGE_BODY), given_up, stays):
        orders.put(record)
    given_up.call.over = True
    taken(batches)
    await asyncio.sleep(0)
    assert taken(batches)[ONE].records == [stays]


async def test_nothing_is_added_to_what_is_sent_again(batches: Accumulator) -> None:
    orders = writer(batches)
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


async def test_what_comes_after_a_failed_batch_is_in_another(batches: Accumulator) -> None:
    orders = writer(batches)
    orders.put(Put())
    failed = batches.waiting[ONE][0]
    batches.fail_topic("orders", UnknownTopicOrPartitionError())
    record = Put()
    orders.put(record)
    batch = taken(batches)[ONE]
    assert batch is not failed
    assert batch.records == [record]
