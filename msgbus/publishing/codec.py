"""Codec: encodes bodies and checks headers, keys and ids, with their limits. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from msgbus.adapter.headers import BODY_MAX_BYTES, CONTENT_TYPE, HEADERS_MAX_BYTES, RESERVED_PREFIX
from msgbus.errors import InvalidMessage, MessageTooLarge

__all__ = ["checked_text", "encode_body", "wire_headers"]

MAX_HEADERS: Final = 128
HEADER_NAME_MAX_BYTES: Final = 128
TEXT_MAX_BYTES: Final = 1024
_DELETE: Final = 0x7F
_SPACE: Final = 0x20

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_BYTES: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_TO_JSON: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=to_jsonable_python
)


def encode_body(queue: str, body: Any) -> tuple[bytes, str]:
    """Encode a body: bytes stay as they are, str becomes UTF-8, None is no body, anything else becomes JSON.

    JSON covers what the standard library and pydantic can write (models, dataclasses, dates, decimals).

    Returns:
        The bytes and their content type; both are empty for None.

    Raises:
        InvalidMessage: The body cannot be encoded.
        MessageTooLarge: The body has more than 1 MiB.
    """
    data, kind = (body, _BYTES) if isinstance(body, bytes) else _encoded(queue, body)
    if len(data) > BODY_MAX_BYTES:
        raise MessageTooLarge(
            f"queue {queue!r}: the body has {len(data):,} bytes, {BODY_MAX_BYTES:,} is the limit: "
            "store it elsewhere and publish a reference to it"
        )
    return data, kind


def _encoded(queue: str, body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", ""
    if isinstance(body, bytearray | memoryview):
        return bytes(cast("bytearray", body)), _BYTES
    if isinstance(body, str):
        return _utf8(f"queue {queue!r}: the body", body), _TEXT
    try:
        text = _TO_JSON.encode(body)
    except (TypeError, ValueError, RecursionError, PydanticSerializationError) as error:
        raise InvalidMessage(
            f"queue {queue!r}: a body of {type(body).__name__} cannot be written as JSON: {error}"
        ) from error
    return _utf8(f"queue {queue!r}: the body", text), _JSON


def wire_headers(queue: str, headers: Mapping[str, str] | None, content_type: str) -> dict[str, str]:
    """Check the user's headers and add the content type; the user's own ``content-type`` wins.

    Raises:
        InvalidMessage: A name or value is not allowed, or there are more than 128 headers.
        MessageTooLarge: The headers together have more than 32 KiB.
    """
    wire = {CONTENT_TYPE: content_type} if content_type else {}
    if not headers:
        return wire
    if not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise InvalidMessage(f"queue {queue!r}: headers must map str to str, not be {type(headers).__name__}")
    if len(headers) > MAX_HEADERS:
        raise InvalidMessage(f"queue {queue!r}: {len(headers)} headers are too many, {MAX_HEADERS} is the limit")
    size = sum(_check_header(queue, name, text) for name, text in headers.items())
    if size > HEADERS_MAX_BYTES:
        raise MessageTooLarge(f"queue {queue!r}: the headers have {size:,} bytes, {HEADERS_MAX_BYTES:,} is the limit")
    return wire | dict(headers)


def _check_header(queue: str, name: Any, text: Any) -> int:
    if not isinstance(name, str) or not isinstance(text, str):
        raise InvalidMessage(f"queue {queue!r}: header {name!r} must be str to str")
    what = f"queue {queue!r}: header {name[:40]!r}"
    data = _utf8(what, name)
    if not 1 <= len(data) <= HEADER_NAME_MAX_BYTES or any(byte < _SPACE or byte == _DELETE for byte in data):
        raise InvalidMessage(f"{what}: a name has 1 to {HEADER_NAME_MAX_BYTES} bytes and no control characters")
    if name.lower().startswith(RESERVED_PREFIX):
        raise InvalidMessage(f"{what}: names that begin with {RESERVED_PREFIX!r} are reserved for msgbus")
    return len(data) + len(_utf8(what, text))


def checked_text(queue: str, kind: str, text: str) -> str:
    """Check a message's id or key (UTF-8, at most 1,024 bytes) and return it. Raise InvalidMessage."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise InvalidMessage(f"queue {queue!r}: the {kind} must be a str, not {type(text).__name__}")
    if text.isascii() and len(text) <= TEXT_MAX_BYTES:
        return text  # the common case
    if len(_utf8(f"queue {queue!r}: the {kind}", text)) > TEXT_MAX_BYTES:
        raise InvalidMessage(f"queue {queue!r}: the {kind} is over {TEXT_MAX_BYTES:,} bytes")
    return text


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} is not valid text: it has a lone surrogate at {error.start}") from error
