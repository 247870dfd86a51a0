"""Conversion between AMQP properties and headers and the messages of msgbus. Pure."""

from __future__ import annotations

import json
import re
import time
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import aio_pika
from pamqp.commands import Basic
from pamqp.frame import marshal

from msgbus.adapter.envelope import build_message
from msgbus.adapter.headers import (
    CONTENT_TYPE,
    DEAD_LETTER_ID,
    ID,
    KEY,
    LAST_FAILURE,
    ORIGIN_GROUP,
    ORIGIN_QUEUE,
    REASON,
    TIME,
)
from msgbus_rabbitmq.amqp_frames import BODY, HEADER, encode_content_header, encode_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus_rabbitmq.amqp_frames import Delivered

__all__ = [
    "END_MARKER",
    "decode_dead_letter",
    "decode_headers",
    "decode_message",
    "encode_publish",
    "end_marker_of",
    "key_and_id",
    "refused",
    "route",
    "to_aio_pika",
]

END_MARKER: Final = "msgbus-fence"
"""Header of an end marker.

A walk through a dead-letter queue publishes a message with it to find the end of the queue. It is not a dead letter.
"""

_SHORT_STRING_MAX_BYTES: Final = 255
_SERVER_HEADERS: Final = re.compile(
    r"x-(death|delivery-count|acquired-count|(first|last)-death-(exchange|queue|reason))"
)
"""Headers that the server adds. Headers of users may begin with ``x-`` as well."""


def route(address: Address) -> tuple[str, str]:
    """Return exchange and routing key of an address.

    A queue has an exchange of its own. A retry or dead-letter queue is reached through the default exchange.
    """
    return ("", str(address)) if address.part else (address.queue, address.queue)


def encode_publish(outgoing: Outgoing, attempt: str, channel: int, content_max: int) -> bytes:
    """Encode a publish on ``channel`` as its frames.

    Args:
        outgoing: The message.
        attempt: The AMQP message_id.
        channel: Number of the channel.
        content_max: Most bytes of one body frame.

    Raises:
        ValueError, struct.error: AMQP cannot carry the message.
    """
    body = outgoing.body
    header = encode_content_header(len(body), *_content_type_and_headers(outgoing), attempt, outgoing.time)
    parts = [_publish_frame(*route(outgoing.address), channel), encode_frame(HEADER, channel, header)]
    parts += [encode_frame(BODY, channel, body[at : at + content_max]) for at in range(0, len(body), content_max)]
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _publish_frame(exchange: str, key: str, channel: int) -> bytes:
    """Encode the Basic.Publish frame, which is the same for every message of a queue."""
    return marshal(Basic.Publish(exchange=exchange, routing_key=key, mandatory=True), channel)


def to_aio_pika(outgoing: Outgoing, attempt: str) -> aio_pika.Message:
    """Convert a message for aio-pika to encode; ``attempt`` as in encode_publish()."""
    kind, headers = _content_type_and_headers(outgoing)
    message = aio_pika.Message(
        outgoing.body,
        content_type=kind or None,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        headers={name: _encode_text(text) for name, text in headers.items()},
        message_id=attempt,
        timestamp=datetime.fromtimestamp(outgoing.time // 1000, UTC),
    )
    message.priority = None  # aio-pika makes it 0, and a property that is 0 is sent
    return message


def _content_type_and_headers(outgoing: Outgoing) -> tuple[str, dict[str, str]]:
    """Return the content type, or ``""`` if it does not fit into the property, and the headers."""
    headers = dict(outgoing.headers)
    headers[ID] = outgoing.id
    headers[TIME] = str(outgoing.time)
    if outgoing.key is not None:
        headers[KEY] = outgoing.key
    kind = headers.get(CONTENT_TYPE, "")
    if not (kind.isascii() and 0 < len(kind) <= _SHORT_STRING_MAX_BYTES):
        return "", headers
    del headers[CONTENT_TYPE]  # sent as the property
    return kind, headers


def _encode_text(text: str) -> str | bytearray:
    """Return ``text``, or the original bytes if it was received as bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return bytearray(text.encode(errors="surrogateescape"))
    return text


def decode_message(address: Address, group: str, delivered: Delivered) -> Message:
    """Decode a delivery, from msgbus or from a third-party client, into the message for a callback."""
    return _message(address, group, delivered, {})


def key_and_id(delivered: Delivered) -> tuple[str | None, str]:
    """Return the key and the message id of a delivery; ``""`` if the publisher gave no id."""
    properties = delivered.properties
    table = properties.headers
    key = _decode_text(table[KEY]) if KEY in table else None
    return key, _decode_text(table[ID]) if ID in table else properties.message_id or ""


def end_marker_of(delivered: Delivered) -> str:
    """Return the name of the end marker; ``""`` if ``delivered`` is a dead letter."""
    return _decode_text(delivered.properties.headers.get(END_MARKER, ""))


def decode_dead_letter(address: Address, delivered: Delivered) -> Message:
    """Decode a dead letter.

    One from the server (delivery limit) or from a third-party client gets the headers that those of msgbus have.
    """
    table = delivered.properties.headers
    return _message(
        address,
        address.group,
        delivered,
        {} if DEAD_LETTER_ID in table else _generated_headers(address, delivered, table),
    )


def _generated_headers(address: Address, delivered: Delivered, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that msgbus would have set, equal at each call."""
    death = _death(address, table)
    properties = delivered.properties
    about = (properties.message_id, table.get(ID), sorted(map(repr, death.items())), delivered.body)
    name = uuid.uuid5(uuid.NAMESPACE_OID, repr(about)).hex
    ours = {DEAD_LETTER_ID: name, ORIGIN_QUEUE: address.queue, ORIGIN_GROUP: address.group}
    if ID not in table and not properties.message_id:
        ours[ID] = name
    if death:
        ours[REASON] = _decode_text(death.get("reason", "")).replace("_", " ")
    if isinstance(at := death.get("time"), datetime):
        ours[LAST_FAILURE] = str(int(at.timestamp() * 1000))
    return ours


def _death(address: Address, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry of ``x-death`` for the group's queue, the latest first; empty if there is none."""
    entries = table.get("x-death")
    deaths = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    of_group = (one for one in deaths if one.get("queue") == f"{address.queue}.{address.group}")
    return next(of_group, deaths[0] if deaths else {})


def _message(address: Address, group: str, delivered: Delivered, more: Mapping[str, str]) -> Message:
    properties = delivered.properties
    headers = decode_headers(properties.headers)
    headers.update(more)
    if properties.content_type:
        headers.setdefault(CONTENT_TYPE, properties.content_type)
    return build_message(
        address,
        group,
        delivered.body,
        headers,
        id=properties.message_id or uuid.uuid4().hex,
        time=time.time_ns() // 1_000_000 if properties.time is None else properties.time,
        redelivered=delivered.redelivered,
    )


def decode_headers(table: Mapping[str, Any]) -> dict[str, str]:
    """Return AMQP headers as text, without those that the server added. Values that are not text become JSON."""
    return {
        name: value if isinstance(value, str) else _decode_text(value)
        for name, value in table.items()
        if not (name.startswith("x-") and _SERVER_HEADERS.fullmatch(name))
    }


def _decode_text(value: Any) -> str:
    match value:
        case str():
            return value
        case bytes() | bytearray():
            return value.decode(errors="surrogateescape")
    return json.dumps(value, ensure_ascii=False, default=_jsonable)


def _jsonable(value: Any) -> str:
    match value:
        case bytes() | bytearray():
            return value.decode(errors="surrogateescape")
        case datetime():
            return value.isoformat()
    return str(value)  # Decimal


def refused(reply: str) -> tuple[str, int]:
    """Parse a channel error: the exchange that it names, or ``""``, and the most bytes that it allows, or 0."""
    exchange = re.search(r"exchange '([^']*)'", reply)
    max_bytes = re.search(r"larger than (?:configured )?max(?:imum)? size (\d+)", reply)
    return exchange[1] if exchange else "", int(max_bytes[1]) if max_bytes else 0
