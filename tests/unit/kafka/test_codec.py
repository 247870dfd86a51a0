"""Kafka records as messages and messages as records: nothing is lost, and no foreign record breaks a member."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus_kafka.codec import batch_size_bytes, decode_record, encode_record

QUEUE = Address("orders")


def record(**fields: Any) -> Any:
    usual = {"topic": "orders", "partition": 3, "offset": 17, "timestamp": 1_700_000_000_123, "key": None}
    return SimpleNamespace(**{**usual, "value": b"body", "headers": (), **fields})


def outgoing(**fields: Any) -> Outgoing:
    usual = {"address": QUEUE, "id": "id-1", "time": 1_700_000_000_000, "body": b"\x00\xff", "key": None, "headers": {}}
    return Outgoing(**{**usual, **fields})


def there_and_back(message: Outgoing) -> Any:
    key, headers = encode_record(message)
    return decode_record(record(key=key, value=message.body, headers=tuple(headers)), QUEUE, "group")


@pytest.mark.parametrize("key", [None, "", "k", "ключ", "\udcff\udc80"])
def test_what_is_published_arrives_unchanged(key: str | None) -> None:
    message = there_and_back(outgoing(key=key, headers={"A": "ä", "raw": "\udcfe", "content-type": "text/plain"}))
    assert (message.id, message.body, message.key) == ("id-1", b"\x00\xff", key)
    assert message.headers == {"A": "ä", "raw": "\udcfe"}
    assert message.content_type == "text/plain"
    assert message.published_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (message.queue, message.group, message.attempt) == ("orders", "group", 1)


def test_a_foreign_record_is_known_by_its_place() -> None:
    message = decode_record(record(), QUEUE, "group")
    assert message.id == message.origin == "orders-3@17"
    assert message.published_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)


def test_keys_and_headers_that_are_no_text_survive() -> None:
    message = decode_record(record(key=b"\xff\x00", headers=(("h", b"\xfe"), ("null", None))), QUEUE, "group")
    assert message.key == "\udcff\x00"
    assert message.headers == {"h": "\udcfe", "null": ""}
    assert encode_record(outgoing(key=message.key))[0] == b"\xff\x00"


def test_a_tombstone_is_an_empty_body() -> None:
    assert decode_record(record(value=None, key=b"k"), QUEUE, "group").body == b""


@pytest.mark.parametrize("timestamp", [-1, 0, 2**63 - 1])
def test_no_timestamp_of_a_record_can_break_a_member(timestamp: int) -> None:
    assert decode_record(record(timestamp=timestamp), QUEUE, "group").body == b"body"


@pytest.mark.parametrize("name", ["msgbus-time", "msgbus-attempts"])
def test_no_header_of_a_stranger_can_break_a_member(name: str) -> None:
    assert decode_record(record(headers=((name, b"9" * 5000),)), QUEUE, "group").attempt == 1


def test_the_size_counts_key_and_headers() -> None:
    bare = batch_size_bytes(None, b"x" * 1000, [])
    assert 1000 < bare < 1200
    assert batch_size_bytes(b"k" * 500, b"x" * 1000, [("h", b"v" * 300)]) >= bare + 800


def test_such_a_name_is_written_in_ascii_when_the_message_is_passed_on() -> None:
    outgoing = Outgoing(Address("q", "g", "retry.5s"), "id", 1, b"", None, {"gr\udcfcn": "v\udcff", "grün": "w"})
    _, headers = encode_record(outgoing)
    assert headers[2:] == [("gr\\xfcn", b"v\xff"), ("grün", b"w")]
