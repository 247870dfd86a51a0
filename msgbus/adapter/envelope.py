"""What crosses the boundary: the message an adapter sends, and one delivery of a message."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from msgbus.adapter.headers import (
    ATTEMPTS,
    CONTENT_TYPE,
    ID,
    KEY,
    RESERVED_PREFIX,
    TIME,
)
from msgbus.message import Message

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from msgbus.adapter.address import Address

__all__ = ["Delivery", "Outgoing", "build_message", "parse_number"]


MAX_NUMBER_DIGITS: Final = 15
"""Fewer digits than this are a time before the year 5138, in milliseconds."""


_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True, eq=False, weakref_slot=True)
class Outgoing:
    """What an adapter sends. ``headers`` are the user's and ours together, but id, time and key.

    Nobody changes one: it is not frozen since it would be made four times as slowly, and so with a Delivery.
    Compared by identity: the same object is another try of the same publish, an equal id alone is not (a message is in
    its group's retry queues many times).
    """

    address: Address
    id: str
    time: int
    body: bytes
    key: str | None
    headers: Mapping[str, str]


@dataclass(slots=True, eq=False)
class Delivery:
    """One handing-over of a message to a member."""

    message: Message
    address: Address
    session: Hashable
    """Whose it is: adapters make it, the core only compares it. It is the fence: when a session has ended,
    nothing of it may be acknowledged."""
    receipt: Any
    """The adapter's own proof of delivery; nobody else looks inside."""
    position: int | None = None
    """The place in a log where acknowledging moves a watermark (Kafka); None where each is acknowledged alone."""


_MessageInMaking: Any = type("_Made", (), {"__slots__": Message.__slots__})
"""A Message while it is made: the same slots, not frozen yet. Frozen from the start takes eight times as long."""


def build_message(  # noqa: PLR0913 - one row per thing a broker may know of a message
    address: Address,
    group: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    time: int,
    key: str | None = None,
    origin: str = "",
    redelivered: bool = False,
) -> Message:
    """The message that ``headers`` (as they lay on the server, ours included) and a broker's own fields make.

    ``id`` and ``time`` are what the broker knows; our headers, where there are any, win over them, and over ``key``.
    """
    more = dict(headers)
    made = _MessageInMaking()
    made.body = body
    made.id = more.pop(ID, id)
    made.key = more.pop(KEY, key)
    made.time = parse_number(more.pop(TIME), time) if TIME in more else time
    made.content_type = more.pop(CONTENT_TYPE, "")
    made.queue = address.queue
    made.group = group
    made.redelivered = redelivered
    made.origin = origin
    made.headers, made.system = _split_headers(more) if more else (_NONE, _NONE)  # nothing is left of most
    made.attempt = parse_number(more[ATTEMPTS], 0) + 1 if ATTEMPTS in more else 1
    made.__class__ = Message
    return cast("Message", made)


def _split_headers(headers: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The publisher's own and ours, read-only."""
    own: dict[str, str] = {}
    system: dict[str, str] = {}
    for name, text in headers.items():
        (system if name.startswith(RESERVED_PREFIX) else own)[name] = text
    return MappingProxyType(own) if own else _NONE, MappingProxyType(system) if system else _NONE


def parse_number(text: str, otherwise: int) -> int:
    """What we wrote, and never an error: a foreign client may write anything, and one message must not stop a queue."""
    return int(text) if len(text) < MAX_NUMBER_DIGITS and text.isascii() and text.isdecimal() else otherwise
