"""AMQP 0-9-1 frames and content headers: encoding of what msgbus sets, decoding of what any publisher may set. Pure.

aiormq's encoder and decoder go through all properties one by one. They take about four times as long: 12 and 9 us,
where these take 3 us.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aio_pika.exceptions import InvalidFrameError
from pamqp.decode import embedded_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiormq.abc import DeliveredMessage

__all__ = [
    "BODY",
    "FRAME_END",
    "FRAME_HEADER",
    "HEADER",
    "METHOD",
    "PERSISTENT",
    "Delivered",
    "Properties",
    "decode_content_header",
    "encode_content_header",
    "encode_frame",
    "from_aiormq",
]

FRAME_HEADER: Final = Struct(">BHI")
"""Kind, channel and size of the payload, which is followed by one end byte."""
FRAME_END: Final = 0xCE
METHOD, HEADER, BODY = 1, 2, 3
_START: Final = Struct(">HHQH")
"""Class, weight, size of the body, and flags: which properties follow, in the order of their bits."""
_CONTENT_TYPE: Final = 1 << 15
_CONTENT_ENCODING: Final = 1 << 14
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_PRIORITY: Final = 1 << 11
_CORRELATION_ID, _REPLY_TO, _EXPIRATION = 1 << 10, 1 << 9, 1 << 8
_MESSAGE_ID: Final = 1 << 7
_TIMESTAMP: Final = 1 << 6
_TYPE, _USER_ID, _APP_ID, _CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2
_OURS: Final = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP
_BEFORE_ID: Final = (_CORRELATION_ID, _REPLY_TO, _EXPIRATION)
_AT_LAST: Final = (_TYPE, _USER_ID, _APP_ID, _CLUSTER_ID)
_UNUSUAL: Final = _CONTENT_ENCODING | _PRIORITY | sum(_BEFORE_ID) | sum(_AT_LAST)
_TEXT, _BYTES = _TEXTS = b"Sx"
_BASIC: Final = 60
PERSISTENT: Final = 2
"""Delivery mode of a message that survives a restart of the server."""
_MODE: Final = bytes((PERSISTENT,))
_LENGTH: Final = Struct(">I")
_KIND: Final = Struct(">BI")
_STAMP: Final = Struct(">Q")
_SECONDS_MAX: Final = 0xFFFF_FFFF
"""Seconds until the year 2106. A larger timestamp is in milliseconds, as some publishers send it."""
_STAMP_MAX: Final = 10**14
"""Milliseconds until the year 5138. A larger timestamp is ignored."""


class Properties(NamedTuple):
    """The properties of a message that msgbus reads."""

    content_type: str
    headers: Mapping[str, Any]
    message_id: str | None
    time: int | None
    """Milliseconds since 1970."""


class Delivered(NamedTuple):
    """One delivery of the server."""

    tag: int
    redelivered: bool
    """Whether the server has delivered it before."""
    properties: Properties
    body: bytes


def from_aiormq(message: DeliveredMessage) -> Delivered:
    """Convert a delivery that aiormq has decoded."""
    said = message.header.properties
    time = None if said.timestamp is None else int(said.timestamp.timestamp() * 1000)
    properties = Properties(said.content_type or "", said.headers or {}, said.message_id, time)
    return Delivered(message.delivery_tag or 0, bool(message.redelivered), properties, message.body)


def encode_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Encode a frame."""
    return b"%b%b\xce" % (FRAME_HEADER.pack(kind, channel, len(payload)), payload)


def encode_content_header(
    size: int, content_type: str, headers: Mapping[str, str], message_id: str, time: int
) -> bytes:
    """Encode the payload of the content header frame of a persistent message.

    Text that was received as bytes that are not UTF-8 is sent as those bytes.

    Args:
        size: Bytes of the body.
        content_type: At most 255 bytes; may be empty.
        headers: Their names have at most 255 bytes each.
        message_id: At most 255 bytes.
        time: Milliseconds since 1970.

    Raises:
        ValueError, struct.error: A value does not fit.
    """
    table = b"".join([part for name, text in headers.items() for part in (_name(name), _value(text))])
    return b"".join(
        (
            _START.pack(_BASIC, 0, size, _OURS | _CONTENT_TYPE if content_type else _OURS),
            _short(content_type) if content_type else b"",
            _LENGTH.pack(len(table)),
            table,
            _MODE,
            _short(message_id),
            _STAMP.pack(time // 1000),
        )
    )


def _value(text: str) -> bytes:
    try:
        data, kind = text.encode(), _TEXT
    except UnicodeEncodeError:
        data, kind = text.encode(errors="surrogateescape"), _BYTES
    return _KIND.pack(kind, len(data)) + data


def _short(text: str) -> bytes:
    data = text.encode(errors="surrogateescape")
    return bytes((len(data),)) + data


_name: Final = lru_cache(maxsize=1024)(_short)


def decode_content_header(payload: bytes) -> tuple[int, Properties]:
    """Decode the payload of a content header frame into the size of the body and the properties.

    Raises InvalidFrameError.
    """
    try:
        _, _, size, flags = _START.unpack_from(payload)
        try:
            return size, _properties(payload, flags, "strict")
        except UnicodeDecodeError:
            return size, _properties(payload, flags, "surrogateescape")
    except (struct.error, IndexError, ValueError, RecursionError) as error:
        raise InvalidFrameError(f"cannot read a content header: {error}") from error


def _properties(payload: bytes, flags: int, errors: str) -> Properties:
    unusual = flags & _UNUSUAL
    at = _START.size
    kind, name = "", None
    headers: Mapping[str, Any] = {}
    stamp = None
    if flags & _CONTENT_TYPE:
        end = at + 1 + payload[at]
        kind = payload[at + 1 : end].decode("utf-8", errors)
        at = end
    if unusual & _CONTENT_ENCODING:
        at += 1 + payload[at]
    if flags & _HEADERS:
        end = at + _LENGTH.size + _LENGTH.unpack_from(payload, at)[0]
        headers = _table(payload, at + _LENGTH.size, end, errors)
        at = end
    if flags & _DELIVERY_MODE:
        at += 1
    if unusual:
        at += bool(flags & _PRIORITY)
        at = _skip_texts(payload, at, flags, _BEFORE_ID)
    if flags & _MESSAGE_ID:
        end = at + 1 + payload[at]
        name = payload[at + 1 : end].decode("utf-8", errors)
        at = end
    if flags & _TIMESTAMP:
        stamp = _milliseconds(_STAMP.unpack_from(payload, at)[0])
        at += _STAMP.size
    if unusual:
        at = _skip_texts(payload, at, flags, _AT_LAST)
    if at != len(payload):
        raise ValueError(f"it has {len(payload)} bytes, but its properties end at {at}")
    return Properties(kind, headers, name, stamp)


def _table(payload: bytes, at: int, end: int, errors: str) -> dict[str, Any]:
    """Decode the headers between two offsets; text and bytes become text."""
    headers: dict[str, Any] = {}
    while at < end:
        value = at + 1 + payload[at]
        name = payload[at + 1 : value].decode("utf-8", errors)
        if payload[value] in _TEXTS:
            text = value + _KIND.size
            at = text + _KIND.unpack_from(payload, value)[1]
            headers[name] = payload[text:at].decode("utf-8", errors)
        else:
            length, headers[name] = embedded_value(payload[value:end])
            at = value + length
    if at != end:
        raise ValueError("the last header is longer than the headers")
    return headers


def _skip_texts(payload: bytes, at: int, flags: int, texts: tuple[int, ...]) -> int:
    """Return the offset after those of ``texts`` that are present."""
    for one in texts:
        if flags & one:
            at += 1 + payload[at]
    return at


def _milliseconds(stamp: int) -> int | None:
    if stamp <= _SECONDS_MAX:
        return stamp * 1000
    return stamp if stamp < _STAMP_MAX else None
