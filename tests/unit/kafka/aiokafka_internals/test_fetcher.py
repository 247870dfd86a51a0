"""Changes to aiokafka's fetcher."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import TopicPartition

from msgbus_kafka.aiokafka_internals.fetcher import IDLE_FETCH_WAIT_MS, FetchResponses, install_fetcher
from msgbus_kafka.aiokafka_internals.lenient_headers import LenientRecords
from msgbus_kafka.errors import FetchRefused
from msgbus_kafka.offset_continuity import OffsetGap
from tests.support.kafka.raw_batches import batch


class Fetcher:
    """The part of aiokafka's that is looked at: a task for each request, and who waits for its end."""

    def __init__(self, *, finds: bool) -> None:
        self._in_flight = {"node"}
        self._client = SimpleNamespace(send=None)
        self._records: dict[str, object] = {}
        self.waited: list[int] = []
        self._wait_consume_future: Any = asyncio.get_running_loop().create_future()
        self.finds = finds

    async def _proc_fetch_request(self, assignment: Any, node: Any, request: Any) -> bool:
        assert (assignment, node) == ("assignment", "node")
        self.waited.append(request._max_wait_ms)
        return self.finds

    @staticmethod
    def _set_error(*_: object) -> None:
        raise AssertionError("no response has an error")

    def request(self) -> asyncio.Task[bool]:
        request = SimpleNamespace(_max_wait_ms=100)
        return asyncio.get_running_loop().create_task(self._proc_fetch_request("assignment", "node", request))


async def test_records_are_taken_before_their_request_has_ended_and_nobody_else_is_woken_by_it() -> None:
    fetcher, arrived = Fetcher(finds=True), asyncio.Event()
    install_fetcher(SimpleNamespace(_fetcher=fetcher), arrived)
    request = fetcher.request()
    await arrived.wait()
    assert not request.done()
    assert fetcher._wait_consume_future is None
    assert await request


async def test_with_the_end_of_its_request_a_node_is_free_for_the_next() -> None:
    for finds in (True, False):
        fetcher, arrived = Fetcher(finds=finds), asyncio.Event()
        install_fetcher(SimpleNamespace(_fetcher=fetcher), arrived)
        request = fetcher.request()
        while not request.done():
            assert "node" in fetcher._in_flight
            await asyncio.sleep(0)
        assert not fetcher._in_flight
        assert arrived.is_set() is finds


async def test_a_node_that_had_nothing_keeps_the_next_request_for_longer_unless_records_wait_here() -> None:
    fetcher = Fetcher(finds=False)
    install_fetcher(SimpleNamespace(_fetcher=fetcher), asyncio.Event())
    await fetcher.request()
    await fetcher.request()
    fetcher._records = {"another partition": "its records"}
    await fetcher.request()
    fetcher._records = {}
    fetcher.finds = True
    await fetcher.request()
    await fetcher.request()
    assert fetcher.waited == [100, IDLE_FETCH_WAIT_MS, 100, IDLE_FETCH_WAIT_MS, 100]


# What responses say beside their records.

PARTITION = TopicPartition("q", 0)


class Buffer:
    """What aiokafka keeps of responses, and where it believes a partition to be."""

    has_valid_position = True

    def __init__(self) -> None:
        self._records: dict[Any, Any] = {}
        self.position = 0
        self.assignment = SimpleNamespace(state_value=lambda _: self)

    def _set_error(self, partition: Any, error: Exception) -> None:
        self._records[partition] = error

    def brings(self, tap: FetchResponses, code: int, raw: bytes = b"", begins: int = 0) -> bool:
        if raw:
            read = SimpleNamespace(next_fetch_offset=begins, _records=None)
            self._records[PARTITION] = SimpleNamespace(_partition_records=read)
        row: Any = (0, code, 100, 100, 0, [], -1, raw)
        return tap.observe(self.assignment, SimpleNamespace(API_VERSION=11, topics=[("q", [row])]))


def test_an_error_that_aiokafka_only_logs_is_raised_by_the_next_fetch() -> None:
    buffer: Any = Buffer()
    tap = FetchResponses(buffer)
    assert buffer.brings(tap, 56)
    assert isinstance(buffer._records.pop(PARTITION), FetchRefused)
    assert tap.refused == {PARTITION}
    assert not buffer.brings(tap, 0)
    assert not tap.refused


def test_errors_that_pass_and_those_that_aiokafka_tells_are_left_to_it() -> None:
    buffer: Any = Buffer()
    tap = FetchResponses(buffer)
    for code in (1, 3, 6, 29):
        assert not buffer.brings(tap, code)
        assert not buffer._records
    assert tap.refused == {PARTITION}, "29, which it raises by itself"


def test_what_was_read_to_its_end_is_forgotten_and_its_tail_is_known() -> None:
    buffer: Any = Buffer()
    tap = FetchResponses(buffer)
    raw = batch([b"a", b"b"])
    buffer.brings(tap, 0, raw)
    source = tap.batches_of(PARTITION)
    assert source is not None
    assert source.unexplained(OffsetGap(0, 2)) == OffsetGap(0, 2)
    assert tap.next_offset(PARTITION, 0) == 1, "more of it waits"
    assert source.delivered_until == 1
    del buffer._records[PARTITION]
    buffer.position = 5
    assert tap.next_offset(PARTITION, 1) == 5, "nothing lies behind the batch"
    assert tap.batches_of(PARTITION) is None
    assert tap.next_offset(PARTITION, 5) == 6


def test_a_partition_is_read_leniently_from_the_next_fetch_on() -> None:
    buffer: Any = Buffer()
    tap = FetchResponses(buffer)
    assert tap.read_leniently(PARTITION)
    assert not tap.read_leniently(PARTITION)
    buffer.brings(tap, 0, batch([b"a"]))
    assert isinstance(buffer._records[PARTITION]._partition_records._records, LenientRecords)


async def test_a_response_that_aiokafka_cannot_take_in_does_not_end_its_fetcher() -> None:
    fetcher, arrived = Fetcher(finds=True), asyncio.Event()

    async def broken(*_: Any) -> bool:
        raise AssertionError

    fetcher._proc_fetch_request = broken  # type: ignore[method-assign, assignment]
    install_fetcher(SimpleNamespace(_fetcher=fetcher), arrived)
    assert not await fetcher.request()
    assert not arrived.is_set()


async def test_a_second_refusal_of_a_partition_is_dropped_and_does_not_end_the_fetcher() -> None:
    fetcher: Any = Fetcher(finds=True)
    fetcher._set_error = fetcher._records.__setitem__
    install_fetcher(SimpleNamespace(_fetcher=fetcher), asyncio.Event())
    for refusal in ("first", "second"):
        fetcher._set_error(PARTITION, refusal)
    assert fetcher._records == {PARTITION: "first"}
