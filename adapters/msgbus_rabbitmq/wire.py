"""A message as RabbitMQ carries it, and back. Pure."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from msgbus.message import CONTENT_TYPE, ID, KEY, TIME, received

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

    from msgbus.message import Message, Outgoing
    from msgbus.names import Address

__all__ = ["arrived", "properties"]

PERSISTENT: Final = 2
_SERVERS_OWN: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


def properties(outgoing: Outgoing) -> Basic.Properties:
    """The properties and headers of one try to publish."""
    headers: dict[str, Any] = {**outgoing.headers, ID: outgoing.id, TIME: str(outgoing.time)}
    if outgoing.key is not None:
        headers[KEY] = outgoing.key
    return Basic.Properties(
        headers=headers,
        content_type=outgoing.headers.get(CONTENT_TYPE),
        delivery_mode=PERSISTENT,
        # Fresh for every try: the client tells returned messages apart by it, and swaps the verdicts of two equal ones.
        message_id=secrets.token_hex(16),
        timestamp=datetime.fromtimestamp(outgoing.time // 1000, UTC),
    )


def arrived(delivered: DeliveredMessage, address: Address, group: str) -> Message:
    """What was delivered; a foreign message's id is its ``message_id`` property, else random."""
    own = delivered.header.properties
    headers = {name: _text(value) for name, value in (own.headers or {}).items() if not name.startswith(_SERVERS_OWN)}
    if own.content_type and CONTENT_TYPE not in headers:
        headers[CONTENT_TYPE] = own.content_type
    return received(
        address,
        group,
        bytes(delivered.body),
        headers,
        id=own.message_id or secrets.token_hex(16),
        time=int((own.timestamp.timestamp() if own.timestamp else time.time()) * 1000),
        redelivered=bool(delivered.redelivered),
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="surrogateescape")
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
