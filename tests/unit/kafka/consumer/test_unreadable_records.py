"""Isolation of partitions with records that cannot be read, without a server."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from msgbus.adapter.address import Address
from msgbus_kafka.consumer.partition_session import PartitionSession
from msgbus_kafka.consumer.unreadable_records import UnreadableRecordIsolation, concerns_all_partitions
from msgbus_kafka.errors import FetchRefused

BAD, GOOD = TopicPartition("bad", 0), TopicPartition("good", 0)


class Client:
    """One whose record ``fault`` of the bad partition raises ``error``; 1000 records lie in each."""

    def __init__(self, fault: int, error: Exception) -> None:
        self.fault = fault
        self.error = error
        self.at = {BAD: 0, GOOD: 0}
        self.paused: set[Any] = set()
        self.asked = 0
        self._coordinator = SimpleNamespace(check_errors=lambda: None)

    async def getmany(self, *partitions: Any, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        del timeout_ms
        self.asked += 1
        fetched: dict[Any, list[Any]] = {}
        for one in partitions:
            begin = self.at[one]
            end = self.at[one] = min(begin + max_records, 1000)
            if one == BAD and begin <= self.fault < end:
                raise self.error
            if begin < end:
                fetched[one] = [
                    SimpleNamespace(offset=at, serialized_value_size=1, serialized_key_size=-1)
                    for at in range(begin, end)
                ]
        return fetched

    def seek(self, partition: Any, offset: int) -> None:
        self.at[partition] = offset

    def pause(self, partition: Any) -> None:
        self.paused.add(partition)

    def resume(self, partition: Any) -> None:
        self.paused.discard(partition)


class Responses:
    def __init__(self) -> None:
        self.refused: set[Any] = set()
        self.read: set[Any] = set()

    def batches_of(self, partition: Any) -> Any:
        del partition
        return SimpleNamespace(fetch_offset=0)

    def read_leniently(self, partition: Any) -> bool:
        fresh = partition not in self.read
        self.read.add(partition)
        return fresh


class Bench:
    """Two partitions and what fetches them."""

    def __init__(self, fault: int = 300, error: Exception | None = None) -> None:
        self.error = error or kafka.CorruptRecordException("Invalid CRC")
        self.client = Client(fault, self.error)
        responses: Any = Responses()
        self.responses = responses
        starts: Any = SimpleNamespace(known=lambda _: None)
        client: Any = self.client
        self.apart = UnreadableRecordIsolation(client, starts, self.responses)
        self.bad = PartitionSession(BAD, Address("bad"), 10)
        self.good = PartitionSession(GOOD, Address("good"), 10)

    async def begin(self) -> None:
        with pytest.raises(type(self.error)):
            await self.client.getmany(GOOD, BAD, timeout_ms=0, max_records=500)
        self.apart.begin([self.bad, self.good], self.error, 500)

    async def until_it_fails(self) -> None:
        """Fetch the bad partition as one of many."""
        try:
            while True:
                self.bad.buffer((await self.client.getmany(BAD, timeout_ms=0, max_records=500))[BAD])
        except kafka.CorruptRecordException:
            return

    async def round(self) -> None:
        for session in (self.good, self.bad):
            if session.max_records:
                session.buffer((await self.apart.fetch(session)).get(session.partition, ()))


@pytest.mark.parametrize("fault", [0, 1, 250, 300, 499, 500, 999])
async def test_all_before_the_fault_is_handed_over_and_the_partition_is_stopped_at_it(
    fault: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(fault)
    if fault < 500:
        await bench.begin()
    else:
        bench.apart.begin([bench.bad, bench.good], bench.error, 500)
    for _ in range(50):
        await bench.round()
        if bench.bad.max_records is None:  # fetched together again, where it fails again
            await bench.until_it_fails()
            bench.apart.begin([bench.bad], bench.error, 500)
    assert bench.bad.reached == fault - 1
    assert bench.bad.max_records == 0
    assert bench.client.paused == {BAD}
    assert f"queue bad, partition 0: a record at offset {fault} or just behind it is corrupt" in bench.bad.problem
    assert [one.levelno for one in caplog.records].count(logging.ERROR) == 1
    assert bench.client.asked < 60


async def test_the_others_lose_nothing_and_are_fetched_together_again() -> None:
    bench = Bench()
    await bench.begin()
    assert bench.client.at[GOOD] == 0, "sought back"
    await bench.round()
    assert bench.good.reached == 499
    await bench.round()
    assert bench.good.max_records is None
    assert not bench.good.problem


async def test_a_fault_that_has_passed_leaves_everything_as_it_was() -> None:
    bench = Bench()
    await bench.begin()
    bench.client.fault = -1
    await bench.round()
    assert (bench.bad.max_records, bench.good.max_records) == (None, None)


async def test_a_header_name_is_read_leniently_before_its_partition_is_stopped() -> None:
    bench = Bench(error=UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "invalid start byte"))
    await bench.begin()
    await bench.round()
    assert bench.responses.read == {BAD}
    bench.client.fault = -1  # it can be read now
    await bench.round()
    assert bench.bad.reached == 499
    assert not bench.bad.problem


@pytest.mark.parametrize(
    "error", [kafka.TopicAuthorizationFailedError("bad"), FetchRefused(BAD, "KafkaStorageError, code 56")]
)
async def test_what_the_broker_refuses_is_tried_again_and_told_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(0, error)
    bench.apart.begin([bench.bad, bench.good], error, 500)
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    for _ in range(7):
        await bench.round()
        waits.append(round(bench.bad.retry_at - loop.time()))
        assert (bench.bad.max_records, bench.client.paused) == (0, {BAD})
        bench.bad.retry_at = loop.time()
        bench.apart.retry_refused([bench.bad, bench.good])
        assert (bench.bad.max_records, bench.client.paused) == (1, set())
    assert waits == [1, 2, 4, 8, 15, 15, 15]
    assert len(caplog.records) == 1
    bench.client.fault = -1
    bench.responses.refused.clear()  # a response without an error has come
    await bench.round()
    assert (bench.bad.max_records, bench.bad.problem, bench.good.max_records) == (None, "", None)
    assert len(caplog.records) == 2


def test_what_ended_the_group_concerns_all_whatever_it_is() -> None:
    def ended() -> None:
        raise kafka.TopicAuthorizationFailedError("q")

    client: Any = SimpleNamespace(_coordinator=SimpleNamespace(check_errors=ended))
    assert concerns_all_partitions(client, kafka.TopicAuthorizationFailedError("q"))
    client = Client(0, RuntimeError())
    assert concerns_all_partitions(client, kafka.KafkaConnectionError())
    assert not concerns_all_partitions(client, kafka.CorruptRecordException())
