"""AMQP properties and headers: which are a message's fields, and which are its headers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus_rabbitmq.amqp_frames import decode_content_header
from msgbus_rabbitmq.codec import decode_headers, encode_publish, to_aio_pika


def _outgoing(**headers: str) -> Outgoing:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Outgoing(Address("q"), "m", 1_700_000_000_123, b"x", None, names)


@pytest.mark.parametrize(
    ("kind", "said", "table"),
    [
        ("application/json", "application/json", {}),
        ("k" * 255, "k" * 255, {}),
        ("k" * 256, None, {"content-type": "k" * 256}),  # longer than a property may be
        ("größe", None, {"content-type": "größe"}),
        ("", None, {"content-type": ""}),
    ],
)
def test_a_content_type_is_the_property_alone_where_that_can_say_it(
    kind: str, said: str | None, table: dict[str, str]
) -> None:
    properties = to_aio_pika(_outgoing(content_type=kind), "attempt").properties
    assert properties.content_type == said
    assert properties.headers == {"msgbus-id": "m", "msgbus-time": "1700000000123", **table}


def test_what_a_server_adds_is_no_header_and_a_users_own_that_begins_alike_is() -> None:
    table = {
        "x-delivery-count": 1,
        "x-death": [],
        "x-first-death-queue": "q",
        "x-request-id": "7",
        "x-deathly": "pale",
        "count": 3,
    }
    assert decode_headers(table) == {"x-request-id": "7", "x-deathly": "pale", "count": "3"}


OUTGOING = st.builds(
    Outgoing,
    address=st.just(Address("q")),
    id=st.text(max_size=20),
    time=st.integers(0, 10**13),
    body=st.binary(max_size=200),
    key=st.one_of(st.none(), st.text(max_size=20)),
    headers=st.dictionaries(
        st.one_of(st.just("content-type"), st.text(min_size=1, max_size=30)), st.text(max_size=300), max_size=4
    ),
)


@given(OUTGOING)
def test_what_is_written_at_once_is_what_the_client_would_write(outgoing: Outgoing) -> None:
    size = len(outgoing.body)
    by_client: list[Any] = [
        Basic.Publish(exchange="q", routing_key="q", mandatory=True),
        ContentHeader(properties=to_aio_pika(outgoing, "attempt").properties, body_size=size),
        *(ContentBody(outgoing.body[at : at + 64]) for at in range(0, size, 64)),
    ]
    assert _frames(encode_publish(outgoing, "attempt", 3, 64)) == _frames(
        b"".join(marshal(one, 3) for one in by_client)
    )


def _frames(data: bytes) -> list[Any]:
    frames: list[Any] = []
    while data:
        size, channel, frame = unmarshal(data)
        said = dict(frame) if isinstance(frame, Basic.Publish) else getattr(frame, "properties", frame)
        value = getattr(frame, "value", getattr(frame, "body_size", None))
        frames.append((channel, type(frame), value, said if not isinstance(frame, ContentBody) else None))
        data = data[size:]
    return frames


def test_what_came_as_bytes_that_are_no_utf_8_goes_out_as_those() -> None:
    strange = b"\xff\xfe".decode(errors="surrogateescape")
    outgoing = Outgoing(Address("q"), strange, 0, b"", strange, {"h": strange, strange: "v"})
    data = encode_publish(outgoing, "attempt", 3, 64)
    start = data.index(b"\xce") + 1 + 7
    size, properties = decode_content_header(data[start:-1])
    assert size == 0
    assert properties.headers == {
        "h": strange,
        strange: "v",
        "msgbus-id": strange,
        "msgbus-key": strange,
        "msgbus-time": "0",
    }
    assert b"hx\x00\x00\x00\x02\xff\xfe" in data


@pytest.mark.parametrize("wrong", [{"headers": {"n" * 256: "v"}}, {"headers": {"h": "\ud800"}}, {"time": -1}])
def test_what_amqp_cannot_carry_is_an_error(wrong: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"id": "m", "time": 0, "body": b"", "key": None, "headers": {}}
    with pytest.raises((ValueError, struct.error)):
        encode_publish(Outgoing(Address("q"), **{**usual, **wrong}), "attempt", 3, 64)
