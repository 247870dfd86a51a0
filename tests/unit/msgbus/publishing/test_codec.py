"""Encoding of bodies and headers, and decoding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import build_message
from msgbus.adapter.headers import ATTEMPTS, BODY_MAX_BYTES, ID, TIME
from msgbus.errors import InvalidMessage, MessageTooLarge
from msgbus.publishing.codec import checked_text, encode_body, wire_headers


@dataclass
class Point:
    x: int


class Award(BaseModel):
    points: Decimal


@pytest.mark.parametrize(
    ("body", "data", "kind"),
    [
        (b"\0\xff", b"\0\xff", "application/octet-stream"),
        (bytearray(b"x"), b"x", "application/octet-stream"),
        (memoryview(b"xy"), b"xy", "application/octet-stream"),
        ("ü", "ü".encode(), "text/plain; charset=utf-8"),
        (None, b"", ""),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'.encode(), "application/json"),
        (Point(1), b'{"x":1}', "application/json"),
        (Award(points=Decimal("1.5")), b'{"points":"1.5"}', "application/json"),
    ],
)
def test_bodies_become_bytes_with_their_content_type(body: Any, data: bytes, kind: str) -> None:
    assert encode_body("q", body) == (data, kind)


def test_a_mutable_body_is_copied() -> None:
    body = bytearray(b"abc")
    data, _ = encode_body("q", body)
    body[0] = 0
    assert data == b"abc"


@pytest.mark.parametrize("body", [object(), float("nan"), "\ud800", {"a": {1, "\ud800"}}])
def test_a_body_that_cannot_travel_is_refused_and_names_the_queue(body: Any) -> None:
    with pytest.raises(InvalidMessage, match="'shop'"):
        encode_body("shop", body)


def test_a_body_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    assert len(encode_body("q", bytes(BODY_MAX_BYTES))[0]) == BODY_MAX_BYTES
    with pytest.raises(MessageTooLarge, match=r"1,048,577.*1,048,576"):
        encode_body("q", bytes(BODY_MAX_BYTES + 1))


def test_headers_have_limits() -> None:
    assert wire_headers("q", {"N" * 128: "v"}, "t") == {"content-type": "t", "N" * 128: "v"}
    with pytest.raises(InvalidMessage, match="129 headers"):
        wire_headers("q", {str(n): "" for n in range(129)}, "t")
    with pytest.raises(MessageTooLarge, match="32,768"):
        wire_headers("q", {"a": "v" * 32768}, "t")


@pytest.mark.parametrize(
    "bad", [{"Msgbus-x": "v"}, {"a\x7f": "v"}, {"": "v"}, {"ü" * 65: "v"}, {"a": "\udfff"}, {"a": 1}, {1: "a"}]
)
def test_headers_outside_the_rules_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        wire_headers("q", bad, "t")


def test_ids_and_keys_are_bounded_text() -> None:
    assert checked_text("q", "key", "") == ""
    for bad in ("x" * 1025, "\ud800", 7):
        with pytest.raises(InvalidMessage, match="key"):
            checked_text("q", "key", bad)  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.text(
            st.characters(min_codepoint=33, max_codepoint=1000, exclude_characters="\x7f"), min_size=1, max_size=20
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
        max_size=10,
    )
)
def test_what_goes_out_comes_back(headers: dict[str, str]) -> None:
    try:
        wire = wire_headers("q", headers, "t")
    except InvalidMessage:
        assert any(name.lower().startswith("msgbus-") for name in headers)
        return
    message = build_message(Address("q"), "g", b"", wire | {ID: "i", TIME: "5"}, id="", time=0)
    assert dict(message.headers) == {name: text for name, text in headers.items() if name != "content-type"}
    assert message.id == "i"


def test_our_headers_win_over_what_the_broker_knows() -> None:
    message = build_message(
        Address("q"), "g", b"x", {ID: "ours", TIME: "1500", ATTEMPTS: "2", "h": "v"}, id="theirs", time=0, key="k"
    )
    assert (message.id, message.attempt, message.key, dict(message.headers)) == ("ours", 3, "k", {"h": "v"})
    assert message.published_at == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)


@pytest.mark.parametrize("forged", ["9" * 30, "-1", "٣", "", "1e9", "²"])
def test_forged_numbers_in_our_headers_stop_nothing(forged: str) -> None:
    message = build_message(Address("q"), "g", b"x", {ATTEMPTS: forged, TIME: forged}, id="i", time=1000)
    assert (message.attempt, message.published_at.second) == (1, 1)


def test_a_foreign_message_is_welcome() -> None:
    message = build_message(Address("q"), "g", b"x", {ATTEMPTS: "many", TIME: "soon"}, id="origin", time=7000)
    assert (message.id, message.attempt, message.content_type) == ("origin", 1, "")
    assert message.published_at.second == 7
