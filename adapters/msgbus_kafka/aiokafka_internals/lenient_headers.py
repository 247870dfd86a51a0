"""Record batches with header names that are not UTF-8, read by aiokafka's pure-Python reader.

aiokafka 0.14: Kafka accepts any bytes as a header name. aiokafka decodes names as strict UTF-8 and raises
UnicodeDecodeError; its C extension has no option for it. The pure-Python batch decodes a slice of its buffer: the
buffer given to it here decodes with ``surrogateescape``, as msgbus does with keys and header values. Tests:
test_lenient_headers.py. Remove when aiokafka reads such names.

Measured: 1.3 us for a record in C, 16 us here. Only partitions in which such a name was found are read in this way, and
of their batches only those that C cannot read. Each batch of such a partition is parsed twice.
"""

from __future__ import annotations

from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

__all__ = ["LenientRecords"]

_MAGIC_V2 = 2
"""The magic number of batches that have headers."""


class LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped
    """The batches of a fetch response."""

    def next_batch(self) -> Any:
        """Return the next batch, or None."""
        raw: Any = self._next_slice
        batch: Any = super().next_batch()
        if batch is None or batch.magic < _MAGIC_V2 or _is_decodable(raw):
            return batch
        return _LenientBatch(raw)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka is untyped
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: _LenientBytes = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _LenientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)


def _is_decodable(raw: bytes | memoryview) -> bool:
    """Return whether every header name of this batch is UTF-8; other faults show when the batch is read."""
    try:
        for _ in DefaultRecordBatch(raw):
            pass
    except UnicodeDecodeError:
        return False
    except Exception:  # noqa: BLE001 - other faults are raised when the batch is read
        return True
    return True
