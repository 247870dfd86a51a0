"""Conversion between messages and Kafka records. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from msgbus.adapter.envelope import build_message
from msgbus.adapter.headers import ATTEMPTS, DEAD_LETTER_ID, ID, KEY, TIME, TOMBSTONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.message import Message
    from msgbus_kafka.client_types.records import FetchedRecord

__all__ = ["batch_size_bytes", "decode_record", "encode_record"]

DLQ_PART: Final = "dlq"
batch_size_bytes: Final[Callable[..., int]] = DefaultRecordBatchBuilder.estimate_size_in_bytes
"""Bytes of a batch with this one record. The broker compares it with the topic's ``max.message.bytes``."""

_MAX_TIMESTAMP_MS: Final = 253_402_300_799_000  # the end of the year 9999: datetime has no later date
_DIGITS: Final = {TIME: 14, ATTEMPTS: 9}


def encode_record(message: Outgoing) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Return the key and the headers of the record for ``message``.

    The key is the message's. For a dead letter it is the dead letter's own id, so that a tombstone can remove it. The
    headers are id and time, then the user's and those of msgbus.
    """
    try:
        return _laid_out(message, str.encode)
    except UnicodeEncodeError:  # bytes that are not UTF-8, in a message of a third-party client that is published again
        key, headers = _laid_out(message, _bytes)
        return key, [(_header_name(name), value) for name, value in headers]


def _laid_out(message: Outgoing, encode: Callable[[str], bytes]) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    key = None if message.key is None else encode(message.key)
    headers = [(ID, encode(message.id)), (TIME, b"%d" % message.time)]
    if message.address.part == DLQ_PART:
        if key is not None:
            headers.append((KEY, key))
        key = encode(message.headers[DEAD_LETTER_ID]) if DEAD_LETTER_ID in message.headers else key
    for name, text in message.headers.items():
        if not name.isascii():
            encode(name)  # raises if it is not UTF-8
        headers.append((name, encode(text)))
    return key, headers


def decode_record(record: FetchedRecord, address: Address, group: str) -> Message:
    """Return the message in ``record``, which any client may have published."""
    headers = {name: _text(value or b"") for name, value in record.headers}
    for name, most in _DIGITS.items():
        if len(headers.get(name, "")) > most:  # not written by msgbus: too large for a date or a counter
            del headers[name]
    if record.value is None:
        headers[TOMBSTONE] = "1"
    origin = f"{record.topic}-{record.partition}@{record.offset}"
    return build_message(
        address,
        group,
        record.value or b"",
        headers,
        id=origin,
        time=min(max(record.timestamp, 0), _MAX_TIMESTAMP_MS),
        key=None if record.key is None or address.part == DLQ_PART else _text(record.key),
        origin=origin,
    )


def _header_name(name: str) -> str:
    r"""Return a name that aiokafka can write: it takes text only. The byte FC is written as the four letters \xfc."""
    return _bytes(name).decode("utf-8", "backslashreplace")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
