"""AMQP properties and headers to and from what the core knows. Pure."""

from __future__ import annotations

import json
import re
import time
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

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
from msgbus_rabbitmq.amqp_frames import BODY, HEADER, PERSISTENT, encode_content_header, encode_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus_rabbitmq.amqp_frames import Delivered

__all__ = [
    "END_MARKER",
    "client_properties",
    "decode_dead_letter",
    "decode_headers",
    "decode_message",
    "encode_publish",
    "end_marker_of",
    "key_and_id",
    "refused",
    "route",
]

END_MARKER: Final = "msgbus-fence"
"""Of a letter that is none: who looks at a dead-letter queue publishes it there, to know where the queue ends."""

_SHORT: Final = 255
_BROKERS: Final = re.compile(r"x-(death|delivery-count|acquired-count|(first|last)-death-(exchange|queue|reason))")
"""Headers that the server adds; a user's may begin with x- as well."""


def route(address: Address) -> tuple[str, str]:
    """Exchange and routing key: a queue's own exchange, or straight into a retry or dead-letter queue."""
    return ("", str(address)) if address.part else (address.queue, address.queue)


def encode_publish(outgoing: Outgoing, attempt: str, channel: int, content_max: int) -> bytes:
    """A publish on ``channel`` as its frames; ``attempt`` is the AMQP message_id.

    Raises ValueError or struct.error for what AMQP cannot carry.
    """
    body = outgoing.body
    header = encode_content_header(len(body), *_said(outgoing), attempt, outgoing.time)
    parts = [_opening(*route(outgoing.address), channel), encode_frame(HEADER, channel, header)]
    parts += [encode_frame(BODY, channel, body[at : at + content_max]) for at in range(0, len(body), content_max)]
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _opening(exchange: str, key: str, channel: int) -> bytes:
    """The first frame, the same for every message of a queue."""
    return marshal(Basic.Publish(exchange=exchange, routing_key=key, mandatory=True), channel)


def client_properties(outgoing: Outgoing, attempt: str) -> Basic.Properties:
    """The same for the client to write; ``attempt`` as in encode_publish()."""
    kind, headers = _said(outgoing)
    return Basic.Properties(
        content_type=kind or None,
        delivery_mode=PERSISTENT,
        headers={name: _outward(text) for name, text in headers.items()},
        message_id=attempt,
        timestamp=datetime.fromtimestamp(outgoing.time // 1000, UTC),
    )


def _said(outgoing: Outgoing) -> tuple[str, dict[str, str]]:
    """The content type, or ``""`` where the property cannot say it, and the headers."""
    headers = dict(outgoing.headers)
    headers[ID] = outgoing.id
    headers[TIME] = str(outgoing.time)
    if outgoing.key is not None:
        headers[KEY] = outgoing.key
    kind = headers.get(CONTENT_TYPE, "")
    if not (kind.isascii() and 0 < len(kind) <= _SHORT):
        return "", headers
    del headers[CONTENT_TYPE]  # the property says it
    return kind, headers


def _outward(text: str) -> str | bytearray:
    """Text as it is; what came in as bytes that are no UTF-8 goes out as those bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return bytearray(text.encode(errors="surrogateescape"))
    return text


def decode_message(address: Address, group: str, delivered: Delivered) -> Message:
    """What a callback gets of a delivery, ours or a foreign publisher's."""
    return _message(address, group, delivered, {})


def key_and_id(delivered: Delivered) -> tuple[str | None, str]:
    """Its key, and its id or ``""`` where the publisher gave none."""
    properties = delivered.properties
    table = properties.headers
    key = _inward(table[KEY]) if KEY in table else None
    return key, _inward(table[ID]) if ID in table else properties.message_id or ""


def end_marker_of(delivered: Delivered) -> str:
    """The name of the fence that this letter is, or ``""``."""
    return _inward(delivered.properties.headers.get(END_MARKER, ""))


def decode_dead_letter(address: Address, delivered: Delivered) -> Message:
    """A dead letter. One that the server made (delivery limit) or a foreign client gets what our own have."""
    table = delivered.properties.headers
    return _message(
        address, address.group, delivered, {} if DEAD_LETTER_ID in table else _made(address, delivered, table)
    )


def _made(address: Address, delivered: Delivered, table: Mapping[str, Any]) -> dict[str, str]:
    """Our headers for it, the same at every look."""
    death = _death(address, table)
    properties = delivered.properties
    about = (properties.message_id, table.get(ID), sorted(map(repr, death.items())), delivered.body)
    name = uuid.uuid5(uuid.NAMESPACE_OID, repr(about)).hex
    ours = {DEAD_LETTER_ID: name, ORIGIN_QUEUE: address.queue, ORIGIN_GROUP: address.group}
    if ID not in table and not properties.message_id:
        ours[ID] = name
    if death:
        ours[REASON] = _inward(death.get("reason", "")).replace("_", " ")
    if isinstance(at := death.get("time"), datetime):
        ours[LAST_FAILURE] = str(int(at.timestamp() * 1000))
    return ours


def _death(address: Address, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The server's word on how it came here from its group's queue: the latest stands first."""
    told = table.get("x-death")
    deaths = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
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
    """AMQP headers as text, without those that the server added. What is no string becomes JSON."""
    return {
        name: value if isinstance(value, str) else _inward(value)
        for name, value in table.items()
        if not (name.startswith("x-") and _BROKERS.fullmatch(name))
    }


def _inward(value: Any) -> str:
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
    """What a channel error blames: the exchange it names, or the bytes it allows; ``""`` and 0 where it names none."""
    exchange = re.search(r"exchange '([^']*)'", reply)
    most = re.search(r"larger than (?:configured )?max(?:imum)? size (\d+)", reply)
    return exchange[1] if exchange else "", int(most[1]) if most else 0
