"""Record batches whose header names are not UTF-8."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecordBatch

from msgbus_kafka.aiokafka_internals.lenient_headers import LenientRecords
from tests.support.kafka.raw_batches import batch


def test_a_name_that_is_no_utf8_is_read_as_values_are() -> None:
    raw = batch([b"a", None, b"c"], headers=[("x", None), ("grün", b"\xff"), ("x", b"2")], latin=True)
    records = LenientRecords(raw)
    only = records.next_batch()
    assert only.validate_crc()
    headers = [("x", None), ("grün", b"\xff"), ("x", b"2"), ("gr\udcfcn", b"1")]
    assert [(one.offset, one.value, one.headers) for one in only] == [
        (0, b"a", headers),
        (1, None, headers),
        (2, b"c", headers),
    ]
    assert not records.has_next()


def test_batches_that_can_be_read_are_read_as_ever() -> None:
    records = LenientRecords(batch([b"a"]) + batch([b"b"], latin=True) + batch([b"c"]))
    kinds = [isinstance(records.next_batch(), DefaultRecordBatch) for _ in range(3)]
    assert kinds == [True, False, True]


def test_another_fault_of_a_batch_is_told_when_it_is_read() -> None:
    raw = bytearray(batch([b"a"]))
    raw[-1] ^= 0xFF
    assert not LenientRecords(bytes(raw)).next_batch().validate_crc()
