"""Headers of AMQP content frames, decoded."""

from __future__ import annotations

from struct import pack

import pytest
from aio_pika.exceptions import InvalidFrameError
from pamqp.commands import Basic
from pamqp.decode import field_table
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from msgbus_rabbitmq.amqp_frames import decode_content_header


def header(flags: int, properties: bytes) -> bytes:
    return pack(">HHQH", 60, 0, 4, flags) + properties


def test_text_that_is_no_utf_8_is_kept_as_its_bytes() -> None:
    table = b"\x01\xffS\x00\x00\x00\x02\xfe\xff" + b"\x01cl\x00\x00\x00\x00\x00\x00\x00\x03"
    raw = b"\x02k\xff" + pack(">I", len(table)) + table + b"\x02i\xff"
    size, said = decode_content_header(header(1 << 15 | 1 << 13 | 1 << 7, raw))
    assert size == 4
    assert (said.content_type, said.message_id) == ("k\udcff", "i\udcff")
    assert said.headers == {"\udcff": "\udcfe\udcff", "c": 3}


@pytest.mark.parametrize(
    ("stamp", "time"),
    [(0, 0), (1_700_000_000, 1_700_000_000_000), (1_700_000_000_123, 1_700_000_000_123), (2**63 + 1, None)],
)
def test_a_time_is_seconds_or_milliseconds_or_none(stamp: int, time: int | None) -> None:
    assert decode_content_header(header(1 << 6, pack(">Q", stamp)))[1].time == time


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        header(1 << 15, b""),
        header(1 << 15, b"\x05abc"),
        header(1 << 13, b"\x00\x00\x00\x09\x01aS\x00\x00\x00\x01"),
        header(1 << 13, b"\x00\x00\x00\x05\x01aS\x00\x00\x00\x09bbbbbbbbb"),
        header(1 << 13, b"\x00\x00\x00\x03\x01a?"),
        header(1 << 6, b"\x00"),
        header(0, b"more"),
    ],
)
def test_a_header_that_contradicts_itself_is_no_header(payload: bytes) -> None:
    with pytest.raises(InvalidFrameError):
        decode_content_header(payload)


def test_a_table_with_more_than_text_is_as_the_client_decodes_it() -> None:
    raw = marshal(ContentHeader(properties=Basic.Properties(headers={"n": 1, "list": ["a", {"b": True}]})), 1)[7:-1]
    assert decode_content_header(raw)[1].headers == field_table(raw[14:])[1] == {"n": 1, "list": ["a", {"b": True}]}
