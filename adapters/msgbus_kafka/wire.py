"""Records and messages: what lies on the server, as bytes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from msgbus.message import ATTEMPTS, ID, KEY, LETTER, TIME, TOMBSTONE, received

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.message import Message, Outgoing
    from msgbus.names import Address

__all__ = ["arrived", "header_list", "key_bytes", "size"]

DLQ: Final = "dlq"
size: Final[Callable[[bytes | None, bytes, list[tuple[str, bytes]]], int]] = (
    DefaultRecordBatchBuilder.estimate_size_in_bytes
)
"""Bytes of a batch with this one record: what the topic's ``max.message.bytes`` is compared with."""

_LATEST: Final = 253_402_300_799_000  # the end of the year 9999: no later time can be told as a date
_DIGITS: Final = {TIME: 14, ATTEMPTS: 9}


def key_bytes(message: Outgoing) -> bytes | None:
    """The record's key: the message's, or of a dead letter its own id, by which a tombstone removes it."""
    if message.address.part == DLQ and LETTER in message.headers:
        return _bytes(message.headers[LETTER])
    return None if message.key is None else _bytes(message.key)


def header_list(message: Outgoing) -> list[tuple[str, bytes]]:
    """The record's headers: id, time, then the user's and ours."""
    headers = [(ID, _bytes(message.id)), (TIME, b"%d" % message.time)]
    if message.address.part == DLQ and message.key is not None:
        headers.append((KEY, _bytes(message.key)))
    for name, text in message.headers.items():
        headers.append((name, _bytes(text)))
    return headers


def arrived(record: Any, address: Address, group: str) -> Message:
    """The message in ``record``, which anybody may have published."""
    headers = {name: _text(value or b"") for name, value in record.headers}
    for name, most in _DIGITS.items():
        if len(headers.get(name, "")) > most:  # not ours, and no number that a date or a counter could hold
            del headers[name]
    if record.value is None:
        headers[TOMBSTONE] = "1"
    origin = f"{record.topic}-{record.partition}@{record.offset}"
    return received(
        address,
        group,
        record.value or b"",
        headers,
        id=origin,
        time=min(max(record.timestamp, 0), _LATEST),
        key=None if record.key is None or address.part == DLQ else _text(record.key),
        origin=origin,
    )


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
