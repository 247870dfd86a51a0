"""Encoding of stream entries: a message as the fields ``id time body [key] [headers as JSON]``.

Entries of third-party clients are messages, too. An entry without the field ``body`` has as its body a JSON object of
its fields; its id and time are the entry's. Bytes in keys and headers that are not UTF-8 are kept by surrogateescape.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter.envelope import build_message
from msgbus.adapter.headers import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus_redis.connection.connection import Command

__all__ = ["by_name", "decode_message", "decode_text", "encode_xadd"]

_MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond that a datetime can hold."""


def encode_xadd(key: bytes, outgoing: Outgoing) -> Command:
    """Encode a message as an XADD; the server answers nil where the stream does not exist."""
    fields: list[str | bytes | int] = [b"id", _bytes(outgoing.id), b"time", outgoing.time, b"body", outgoing.body]
    if outgoing.key is not None:
        fields += (b"key", _bytes(outgoing.key))
    if outgoing.headers:
        fields += (b"headers", _as_json(tuple(outgoing.headers.items())))
    return ("XADD", key, "NOMKSTREAM", "*", *fields)


def decode_message(address: Address, group: str, entry: bytes, flat: Sequence[bytes], *, redelivered: bool) -> Message:
    """Decode a stream entry. Never raises.

    Args:
        address: The queue of the stream.
        group: The group that reads it.
        entry: The entry's id.
        flat: The entry's fields: name, value, name, value.
        redelivered: Whether a member had the entry before.
    """
    fields = dict(zip(flat[::2], flat[1::2], strict=False))
    origin = entry.decode()
    written = int(origin.partition("-")[0])
    body, identity, key = fields.get(b"body"), fields.get(b"id"), fields.get(b"key")
    if body is None:
        third_party = {decode_text(name): decode_text(value) for name, value in fields.items()}
        body, identity, key = json.dumps(third_party).encode(), None, None
        headers: Mapping[str, str] = {CONTENT_TYPE: "application/json"}
        time = written
    else:
        headers, time = _headers(fields.get(b"headers")), _time(fields.get(b"time"), written)
    message_id = origin if identity is None else decode_text(identity)
    return build_message(
        address,
        group,
        body,
        headers,
        id=message_id,
        time=min(time, _MAX_TIME_MS),
        key=None if key is None else decode_text(key),
        origin=origin,
        redelivered=redelivered,
    )


def decode_text(raw: bytes) -> str:
    """Decode UTF-8, keeping other bytes as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def by_name(flat: Sequence[Any]) -> dict[Any, Any]:
    """Return a reply of the form name, value, name, value as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _bytes(plain: str) -> bytes:
    return plain.encode("utf-8", "surrogateescape")


def _time(raw: bytes | None, otherwise: int) -> int:
    return int(raw) if raw is not None and raw.isdigit() and len(raw) < 16 else otherwise  # noqa: PLR2004 - _MAX_TIME_MS has 15 digits


@lru_cache(maxsize=256)
def _as_json(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Encode headers; cached, since they are the same for many messages where publishers add none of their own."""
    return json.dumps(dict(headers)).encode()


@lru_cache(maxsize=256)
def _headers(raw: bytes | None) -> Mapping[str, str]:
    """Decode headers; cached, since they are the same for many messages where publishers add none of their own."""
    if raw is None:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
