"""Missing offsets in a partition, and what the headers of its batches say about them."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.record.default_records import DefaultRecordBase

from msgbus_kafka import offset_continuity
from msgbus_kafka.offset_continuity import FetchedBatches, OffsetGap, find_gaps, has_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

TRANSACTIONAL, CONTROL = DefaultRecordBase.TRANSACTIONAL_MASK, DefaultRecordBase.CONTROL_MASK


def records(offsets: Iterable[int]) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


def header(base: int, last: int, *, count: int | None = None, attributes: int = 0, producer: int = -1) -> bytes:
    size = last - base + 1 if count is None else count
    rest = struct.pack(">iibIhiqqqhii", 49 + 4, 0, 2, 0, attributes, last - base, 0, 0, producer, 0, 0, size)
    return struct.pack(">q", base) + rest + b"body"


def test_the_header_is_read_as_aiokafka_reads_it() -> None:
    assert offset_continuity._BATCH_HEADER.format == DefaultRecordBase.HEADER_STRUCT.format
    assert (offset_continuity._TRANSACTIONAL, offset_continuity._CONTROL) == (TRANSACTIONAL, CONTROL)


def test_a_contiguous_list_has_no_gap() -> None:
    assert not has_gap(5, records([5, 6, 7]))
    assert has_gap(4, records([5, 6, 7]))
    assert has_gap(5, records([5, 7]))


def test_each_gap_is_told_with_the_record_behind_it() -> None:
    assert list(find_gaps(3, records([5, 6, 9]))) == [(0, OffsetGap(3, 5)), (2, OffsetGap(7, 9))]


def test_records_that_a_batch_holds_and_nobody_got_are_not_explained() -> None:
    source = FetchedBatches(0, header(0, 4) + header(5, 9))
    assert source.unexplained(OffsetGap(3, 7)) == OffsetGap(3, 7)
    assert FetchedBatches(0, header(0, 4) + header(5, 9)).unexplained(OffsetGap(5, 6)) == OffsetGap(5, 6)


def test_markers_explain_their_offsets() -> None:
    raw = header(0, 4) + header(5, 5, attributes=CONTROL | TRANSACTIONAL, producer=7) + header(6, 9)
    assert FetchedBatches(0, raw).unexplained(OffsetGap(5, 6)) is None
    assert FetchedBatches(0, raw).unexplained(OffsetGap(4, 6)) == OffsetGap(4, 6)


def test_an_aborted_transaction_explains_its_offsets_up_to_its_marker_and_no_further() -> None:
    def marked(base: int) -> bytes:
        return header(base, base, attributes=CONTROL | TRANSACTIONAL, producer=7)

    def written(base: int, last: int, producer: int = 7) -> bytes:
        return header(base, last, attributes=TRANSACTIONAL, producer=producer)

    raw = written(0, 4) + marked(5) + written(6, 7) + marked(8) + written(9, 9, 8)
    assert FetchedBatches(0, raw, [(7, 0)]).unexplained(OffsetGap(0, 6)) is None
    assert FetchedBatches(0, raw, [(7, 0)]).unexplained(OffsetGap(0, 9)) == OffsetGap(6, 9), (
        "the second one was not taken back"
    )
    assert FetchedBatches(0, raw, [(7, 0)]).unexplained(OffsetGap(9, 10)) == OffsetGap(9, 10), "another producer's"
    assert FetchedBatches(0, raw, [(7, 0), (7, 6)]).unexplained(OffsetGap(0, 9)) is None


def test_compaction_explains_what_is_missing_in_a_batch_and_between_two() -> None:
    raw = header(0, 4, count=2) + header(9, 9)
    assert FetchedBatches(0, raw).unexplained(OffsetGap(1, 4)) is None
    assert FetchedBatches(0, raw).unexplained(OffsetGap(5, 9)) is None


def test_what_lies_before_the_fetch_is_not_explained_by_it() -> None:
    assert FetchedBatches(10, header(10, 12)).unexplained(OffsetGap(8, 10)) == OffsetGap(8, 10)


def test_several_gaps_of_one_fetch_are_explained_in_turn() -> None:
    raw = b"".join(header(at, at, attributes=CONTROL * (at % 2)) for at in range(100))
    source = FetchedBatches(0, raw)
    assert all(source.unexplained(OffsetGap(at, at + 1)) is None for at in range(1, 100, 2))


def test_a_fetch_of_which_nothing_is_seen_explains_what_it_passed_over() -> None:
    before = FetchedBatches(5, header(5, 6, attributes=CONTROL))
    after = FetchedBatches(7, header(7, 9))
    after.continue_from(before)
    assert after.unexplained(OffsetGap(5, 7)) is None
    lost = FetchedBatches(10, header(10, 12))
    lost.continue_from(after)
    assert lost.unexplained(OffsetGap(7, 10)) == OffsetGap(7, 10)


def test_a_fetch_explains_what_came_behind_its_last_record() -> None:
    before = FetchedBatches(0, header(0, 4) + header(5, 5, attributes=CONTROL))
    before.delivered_until = 5
    after = FetchedBatches(6, header(6, 9))
    after.continue_from(before)
    assert after.unexplained(OffsetGap(5, 6)) is None


def test_a_fetch_that_begins_beyond_the_end_of_the_one_before_explains_nothing_between() -> None:
    before = FetchedBatches(0, header(0, 4) + header(5, 9))
    before.delivered_until = 10
    after = FetchedBatches(5500, header(5500, 5509))
    after.continue_from(before)
    assert after.unexplained(OffsetGap(10, 5500)) == OffsetGap(10, 5500)


@pytest.mark.parametrize("raw", [b"", b"short", header(0, 4)[:40]])
def test_a_fetch_that_was_cut_off_explains_what_it_does_not_have(raw: bytes) -> None:
    assert FetchedBatches(0, raw).unexplained(OffsetGap(0, 3)) is None
