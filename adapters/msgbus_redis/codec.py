"""Entries: a message as the fields ``id time body [key] [headers as JSON]``, and back, ours or foreign.

Foreign entries are welcome. One without ``body`` is its fields as a JSON object, whatever they are called; its id and
time are the entry's. Bytes that are no UTF-8 survive in keys and headers by surrogateescape.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgbus.adapter.envelope import build_message
from msgbus.adapter.headers import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus_redis.connection.connection import Command

__all__ = ["decode_message", "decode_text", "encode_xadd"]

_MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond that a datetime can say."""


def encode_xadd(key: bytes, outgoing: Outgoing) -> Command:
    """The XADD of a message; nil answers it where the stream does not exist."""
    fields: list[str | bytes | int] = [b"id", _bytes(outgoing.id), b"time", outgoing.time, b"body", outgoing.body]
    if outgoing.key is not None:
        fields += (b"key", _bytes(outgoing.key))
    if outgoing.headers:
        fields += (b"headers", _as_json(tuple(outgoing.headers.items())))
    return ("XADD", key, "NOMKSTREAM", "*", *fields)


def decode_message(address: Address, group: str, entry: bytes, flat: Sequence[bytes], *, redelivered: bool) -> Message:
    """The message that lies in the stream as ``entry``; ``flat`` is name, value, name, value. Raises nothing."""
    fields = dict(zip(flat[::2], flat[1::2], strict=False))
    origin = entry.decode()
    written = int(origin.partition("-")[0])
    body, identity, key = fields.get(b"body"), fields.get(b"id"), fields.get(b"key")
    if body is None:
        foreign = {decode_text(name): decode_text(value) for name, value in fields.items()}
        body, identity, key = json.dumps(foreign).encode(), None, None
        headers: Mapping[str, str] = {CONTENT_TYPE: "application/json"}
        time = written
    else:
        headers, time = _headers(fields.get(b"headers")), _time(fields.get(b"time"), written)
    message_id = origin if identity is None else decode_text(identity)
    lane = None if key is None else decode_text(key)

    return build_message(
        address,
        group,
        body,
        headers,
        id=message_id,
        time=min(time, _MAX_TIME_MS),
        key=lane,
        origin=origin,
        redelivered=redelivered,
    )


def decode_text(raw: bytes) -> str:
    """``raw`` as text that keeps what is no UTF-8."""
    return raw.decode("utf-8", "surrogateescape")


def _bytes(plain: str) -> bytes:
    return plain.encode("utf-8", "surrogateescape")


def _time(raw: bytes | None, otherwise: int) -> int:
    return int(raw) if raw is not None and raw.isdigit() and len(raw) < 16 else otherwise  # noqa: PLR2004 - _LAST has 15


@lru_cache(maxsize=256)
def _as_json(headers: tuple[tuple[str, str], ...]) -> bytes:
    """The same again and again, where publishers add nothing of their own."""
    return json.dumps(dict(headers)).encode()


@lru_cache(maxsize=256)
def _headers(raw: bytes | None) -> Mapping[str, str]:
    """The same text again and again, where publishers add nothing of their own."""
    if raw is None:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
