"""Continuity of a partition: the log itself must explain every offset that is not handed over.

Offsets are missing for good reasons: markers of transactions, records of an aborted transaction, and records that
compaction removed. They must not be missing because aiokafka has moved its position, or has lost records of its buffer.
The headers of the fetched batches distinguish these cases without a request to a server.

Pure. A contiguous fetch costs three comparisons. Headers are read only where an offset is missing, each of them once
(0.4 us for a batch).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msgbus_kafka.client_types.records import FetchedRecord

__all__ = ["FetchedBatches", "OffsetGap", "find_gaps", "has_gap"]

_BATCH_HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # aiokafka's DefaultRecordBase.HEADER_STRUCT
_LENGTH_PREFIX_BYTES: Final = struct.calcsize(">qi")
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_MAGIC_V2: Final = 2


class OffsetGap(NamedTuple):
    """Offsets that were not handed over: from ``begin`` to ``end``, exclusive."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """The number of missing offsets."""
        return self.end - self.begin


class FetchedBatches:
    """The unread batches of one partition from one fetch; ``fetch_offset`` is the offset that was requested."""

    __slots__ = (
        "_aborted",
        "_last_markers",
        "_raw",
        "_read_until",
        "delivered_until",
        "explained_from",
        "fetch_offset",
    )

    def __init__(
        self, fetch_offset: int, raw: bytes | memoryview, aborted: Sequence[tuple[int, int]] | None = None
    ) -> None:
        self.fetch_offset = fetch_offset
        self.explained_from = fetch_offset
        """From here up to ``fetch_offset`` the log is known to have no record for a reader."""
        self.delivered_until = fetch_offset
        """Records before this offset were handed over."""
        self._raw = raw
        self._aborted = aborted or ()
        self._read_until = 0
        self._last_markers: dict[int, int] = {}
        """Offset of each producer's last transaction marker: its records before that belong to ended transactions."""

    def continue_from(self, before: FetchedBatches) -> None:
        """Take over what ``before`` explains: the fetch before this one, whose last offsets were not handed over.

        Nothing is explained where this fetch begins beyond the end of the one before: the position was reset, because
        retention has deleted the records between.
        """
        begin = before.explained_from if before.delivered_until == before.fetch_offset else before.delivered_until
        if not begin <= self.fetch_offset <= before.end_offset():
            return
        if before.unexplained(OffsetGap(begin, self.fetch_offset)) is None:
            self.explained_from = begin

    def end_offset(self) -> int:
        """Return the offset behind the last batch."""
        end, at = self.fetch_offset, 0
        while at + _BATCH_HEADER.size <= len(self._raw):
            base, length, _, magic, _, _, delta, *_ = _BATCH_HEADER.unpack_from(self._raw, at)
            if length <= 0:
                break
            end = max(end, base + (delta if magic >= _MAGIC_V2 else 0) + 1)
            at += _LENGTH_PREFIX_BYTES + length
        return end

    def unexplained(self, missing: OffsetGap) -> OffsetGap | None:
        """Return the rest of ``missing`` that the log does not explain, or None. Ask in the order of offsets."""
        begin, end = missing
        if begin < self.explained_from or end < begin:
            return missing
        for base, last, attributes, producer, count in self._batches(end):
            if attributes & _CONTROL:
                self._last_markers[producer] = base
            elif last < begin or (attributes & _TRANSACTIONAL and self._is_aborted(producer, base)):
                continue
            elif count == last - base + 1:  # compaction has removed none of its records
                return OffsetGap(max(begin, base), end)
        return None

    def _is_aborted(self, producer: int, base: int) -> bool:
        after = self._last_markers.get(producer, -1)
        return any(one == producer and after < first <= base for one, first in self._aborted)

    def _batches(self, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield base offset, last offset, attributes, producer and count of the batches before ``end``."""
        at, raw = self._read_until, self._raw
        while at + _BATCH_HEADER.size <= len(raw):
            base, length, _, magic, _, attributes, delta, _, _, producer, _, _, count = _BATCH_HEADER.unpack_from(
                raw, at
            )
            if base >= end or length <= 0:
                return
            # Before version 2 a batch is one record, or a compressed set whose offset is that of its last record.
            yield (base, base + delta, attributes, producer, count) if magic >= _MAGIC_V2 else (base, base, 0, -1, 0)
            at += _LENGTH_PREFIX_BYTES + length
            if magic < _MAGIC_V2 or base + delta < end:
                self._read_until = at


def has_gap(expected: int, records: Sequence[FetchedRecord]) -> bool:
    """Return whether an offset from ``expected`` to the last of ``records`` is missing."""
    return bool(records[-1].offset - expected + 1 != len(records))


def find_gaps(expected: int, records: Sequence[FetchedRecord]) -> Iterator[tuple[int, OffsetGap]]:
    """Yield the gaps before and between ``records``, each with the index of the record that follows it."""
    for index, record in enumerate(records):
        if record.offset != expected:
            yield index, OffsetGap(expected, record.offset)
        expected = record.offset + 1
