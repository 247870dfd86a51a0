"""Header names that are no UTF-8, and codecs that are not installed."""

from __future__ import annotations

import aiokafka.codec
import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import ConfigurationError
from msgbus_kafka import compression
from msgbus_kafka.aiokafka_internals.lenient_headers import LenientRecords
from msgbus_kafka.codec import encode_record
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


def test_such_a_name_is_written_in_ascii_when_the_message_is_passed_on() -> None:
    outgoing = Outgoing(Address("q", "g", "retry.5s"), "id", 1, b"", None, {"gr\udcfcn": "v\udcff", "grün": "w"})
    _, headers = encode_record(outgoing)
    assert headers[2:] == [("gr\\xfcn", b"v\xff"), ("grün", b"w")]


def test_codecs_that_are_missing_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compression.missing_codecs()
    assert not [*compression.codec_findings({"q": "zstd"})]
    for one in ("lz4", "zstd"):
        monkeypatch.setattr(aiokafka.codec, f"has_{one}", lambda: False)
    error, warning = compression.codec_findings({"a": "zstd", "b": "producer", "c": "lz4", "d": "gzip"})
    assert (error.severity, warning.severity) == ("error", "warning")
    assert "(lz4, zstd)" in error.what
    assert error.what.endswith(": a, c")
    assert "lz4, zstd" in warning.what
    compression.check_codec("q", {"compression.type": "gzip"})
    compression.check_codec("q", {})
    with pytest.raises(ConfigurationError, match=r'queue q: compression.type is zstd.*pip install "msgbus\[kafka\]"'):
        compression.check_codec("q", {"compression.type": "zstd"})
