"""Continuity of a partition: every offset that is not handed over must be explained by the log itself.

Offsets are missing for good reasons: markers of transactions, records of a transaction that was taken back, and what
compaction removed. They must not be missing because aiokafka has jumped, or has lost what it had taken from its buffer.
The headers of the batches that a fetch brought tell the one from the other, without a question to a server.

Pure. A contiguous fetch costs three comparisons; headers are read only where an offset is missing, each of them once
(0.4 us for a batch).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Gap", "Source", "gap", "gaps"]

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # aiokafka's DefaultRecordBase.HEADER_STRUCT
_PREFIX: Final = struct.calcsize(">qi")
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_DEFAULT: Final = 2


class Gap(NamedTuple):
    """Offsets that were not handed over: from ``begin`` up to ``end``, exclusively."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many offsets are missing."""
        return self.end - self.begin


class Source:
    """What one fetch brought of a partition, unread; ``begins`` is the offset that was asked for."""

    __slots__ = ("_aborted", "_at", "_ended", "_raw", "begins", "covers", "handed")

    def __init__(self, begins: int, raw: Any, aborted: Sequence[tuple[int, int]] | None = None) -> None:
        self.begins = begins
        self.covers = begins
        """From here up to ``begins`` the log is known to have no record for a reader."""
        self.handed = begins
        """Records before this offset were handed over."""
        self._raw = raw
        self._aborted = aborted or ()
        self._at = 0
        self._ended: dict[int, int] = {}
        """Of each producer the last marker: what it wrote before belongs to a transaction that is over."""

    def follows(self, before: Source) -> None:
        """Take over what ``before`` explains, which came before this one and whose rest was not handed over."""
        begin = before.covers if before.handed == before.begins else before.handed
        if begin <= self.begins and before.unexplained(Gap(begin, self.begins)) is None:
            self.covers = begin

    def unexplained(self, missing: Gap) -> Gap | None:
        """Return the rest of ``missing`` that the log does not explain, or None. Ask in the order of offsets."""
        begin, end = missing
        if begin < self.covers or end < begin:
            return missing
        for base, last, attributes, producer, count in self._batches(end):
            if attributes & _CONTROL:
                self._ended[producer] = base
            elif last < begin or (attributes & _TRANSACTIONAL and self._taken_back(producer, base)):
                continue
            elif count == last - base + 1:  # compaction took nothing of it
                return Gap(max(begin, base), end)
        return None

    def _taken_back(self, producer: int, base: int) -> bool:
        after = self._ended.get(producer, -1)
        return any(one == producer and after < first <= base for one, first in self._aborted)

    def _batches(self, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Base offset, last offset, attributes, producer and count of the batches before ``end``."""
        at, raw = self._at, self._raw
        while at + _HEADER.size <= len(raw):
            base, length, _, magic, _, attributes, delta, _, _, producer, _, _, count = _HEADER.unpack_from(raw, at)
            if base >= end or length <= 0:
                return
            # Before version 2 a batch is one record, or a compressed set whose offset is that of its last record.
            yield (base, base + delta, attributes, producer, count) if magic >= _DEFAULT else (base, base, 0, -1, 0)
            at += _PREFIX + length
            if magic < _DEFAULT or base + delta < end:
                self._at = at


def gap(expected: int, records: Sequence[Any]) -> bool:
    """Whether an offset from ``expected`` to the last of ``records`` is missing."""
    return bool(records[-1].offset - expected + 1 != len(records))


def gaps(expected: int, records: Sequence[Any]) -> Iterator[tuple[int, Gap]]:
    """The gaps before and between ``records``, each with the index of the record that follows it."""
    for index, record in enumerate(records):
        if record.offset != expected:
            yield index, Gap(expected, record.offset)
        expected = record.offset + 1
