"""Stream entries as messages, and messages as stream entries."""

from __future__ import annotations

import json

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus_redis.codec import decode_message, encode_xadd

QUEUE = Address("shop.purchases")


def entry_of(outgoing: Outgoing) -> list[bytes]:
    """The fields as they come back from the server."""
    fields = encode_xadd(b"key", outgoing)[4:]
    return [word if isinstance(word, bytes) else str(word).encode() for word in fields]


def test_a_message_comes_back_as_it_was() -> None:
    headers = {"Ä": "ö\udcff", "msgbus-attempts": "2", "content-type": "text/plain"}
    outgoing = Outgoing(QUEUE, "id\udcfe", 1_700_000_000_123, b"\x00\xff", "k\udcff", headers)
    got = decode_message(QUEUE, "g", b"1700-7", entry_of(outgoing), redelivered=True)
    assert (got.body, got.id, got.key, got.headers) == (b"\x00\xff", "id\udcfe", "k\udcff", {"Ä": "ö\udcff"})
    assert (got.attempt, got.content_type, got.redelivered, got.origin) == (3, "text/plain", True, "1700-7")
    assert got.published_at.timestamp() == pytest.approx(1_700_000_000.123)


def test_a_message_without_key_and_headers_has_none() -> None:
    outgoing = Outgoing(QUEUE, "i", 5, b"", None, {})
    assert entry_of(outgoing) == [b"id", b"i", b"time", b"5", b"body", b""]
    got = decode_message(QUEUE, "g", b"9-0", entry_of(outgoing), redelivered=False)
    assert (got.key, got.headers, got.body) == (None, {}, b"")


def test_a_foreign_entry_without_body_is_its_fields_as_json() -> None:
    got = decode_message(
        QUEUE, "g", b"1700000000000-3", [b"order", b"17", b"id", b"x", b"note", b"\xff"], redelivered=False
    )
    assert got.json() == {"order": "17", "id": "x", "note": "\udcff"}
    assert (got.id, got.key, got.content_type) == ("1700000000000-3", None, "application/json")
    assert got.published_at.timestamp() == 1_700_000_000


def test_a_foreign_entry_with_nothing_but_a_body_takes_id_and_time_from_the_entry() -> None:
    got = decode_message(QUEUE, "g", b"1700000000000-3", [b"body", b"x"], redelivered=False)
    assert (got.id, got.published_at.timestamp()) == ("1700000000000-3", 1_700_000_000)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"\xff", b"3", b"[" * 100_000])
def test_headers_that_are_no_object_are_none(raw: bytes) -> None:
    assert decode_message(QUEUE, "g", b"1-0", [b"body", b"x", b"headers", raw], redelivered=False).headers == {}


def test_header_values_that_are_no_strings_become_json() -> None:
    raw = json.dumps({"n": 1, "l": [True]}).encode()
    got = decode_message(QUEUE, "g", b"1-0", [b"body", b"x", b"headers", raw], redelivered=False)
    assert got.headers == {"n": "1", "l": "[true]"}


@pytest.mark.parametrize("forged", [{"msgbus-time": "9" * 30}, {"msgbus-attempts": "9" * 5000}])
def test_a_forged_header_of_ours_does_not_stop_the_queue(forged: dict[str, str]) -> None:
    fields = [b"body", b"x", b"headers", json.dumps({**forged, "mine": "kept"}).encode()]
    got = decode_message(QUEUE, "g", b"1700000000000-0", fields, redelivered=False)
    assert (got.body, got.headers["mine"]) == (b"x", "kept")


@pytest.mark.parametrize("raw", [b"soon", b"-1", b"", b"9" * 40, "٣".encode(), b"999999999999999"])
def test_a_time_that_is_none_does_not_stop_the_queue(raw: bytes) -> None:
    decode_message(QUEUE, "g", b"1700000000000-0", [b"body", b"x", b"time", raw], redelivered=False)


@pytest.mark.parametrize("identity", [b"99999999999999999-0", b"18446744073709551615-18446744073709551615"])
def test_an_entry_id_that_is_no_time_does_not_stop_the_queue(identity: bytes) -> None:
    assert decode_message(QUEUE, "g", identity, [b"a", b"b"], redelivered=False).origin == identity.decode()
