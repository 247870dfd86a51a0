"""Envelopes: messages on their way over the boundary, outgoing and delivered."""

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
"""Digits of a number in a header, exclusive: fewer digits are a time before the year 5138, in milliseconds."""


_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True, eq=False, weakref_slot=True)
class Outgoing:
    """A message that an adapter sends.

    It must not be changed. It is not frozen, since a frozen one takes four times as long to make; nor is a Delivery.
    Outgoing messages are compared by identity: the same object is another try of the same publish. An equal id is not
    enough, since copies of a message pass the retry queues of its group many times.
    """

    address: Address
    """Where to publish it."""
    id: str
    """The message's id."""
    time: int
    """When it was published, by the publisher's clock, in milliseconds since 1970."""
    body: bytes
    """The encoded body."""
    key: str | None
    """The ordering key; None for no order."""
    headers: Mapping[str, str]
    """The user's headers and msgbus' own, without id, time and key."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One delivery of a message to a member."""

    message: Message
    """The message for the callback."""
    address: Address
    """The queue that it was received from."""
    session: Hashable
    """The session that it belongs to: any object of the adapter; the core only compares it. When a session has ended,
    none of its deliveries may be acknowledged."""
    receipt: Any
    """The adapter's own proof of delivery; the core does not look inside."""
    position: int | None = None
    """Position in a log where acknowledging moves a watermark (Kafka); None where each is acknowledged singly."""


_MessageInMaking: Any = type("_Made", (), {"__slots__": Message.__slots__})
"""A Message while it is made: the same slots, not frozen. Making a frozen one takes eight times as long.

``build_message()`` fills all slots and then sets ``__class__`` to Message. That is safe: both classes have the same
slots in the same layout, which Python checks at the assignment, and no other code sees the object before."""


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
    """Build the message of a delivery.

    Args:
        address: Where it was received from; the message's queue is ``address.queue``.
        group: The group that receives it.
        body: The body as it is on the server.
        headers: All headers as they are on the server, with msgbus' own. Those for id, time and key win over the
            arguments.
        id: The id that the broker knows it by.
        time: When it was published as far as the broker knows, in milliseconds since 1970.
        key: The ordering key that the broker knows.
        origin: Its place on the server, for ``Message.origin``.
        redelivered: Whether the broker has delivered it before.

    Returns:
        The message for the callback.
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
    made.headers, made.system = _split_headers(more) if more else (_NONE, _NONE)  # most messages have no others
    made.attempt = parse_number(more[ATTEMPTS], 0) + 1 if ATTEMPTS in more else 1
    made.__class__ = Message
    return cast("Message", made)


def _split_headers(headers: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Split headers into the publisher's and msgbus' own, both read-only."""
    own: dict[str, str] = {}
    system: dict[str, str] = {}
    for name, text in headers.items():
        (system if name.startswith(RESERVED_PREFIX) else own)[name] = text
    return MappingProxyType(own) if own else _NONE, MappingProxyType(system) if system else _NONE


def parse_number(text: str, otherwise: int) -> int:
    """Parse a number in a header of msgbus.

    Never raises: a third-party client may write any text, and one message must not stop a queue.

    Args:
        text: The header's text.
        otherwise: The result for a text that is no number.

    Returns:
        The number, or ``otherwise``.
    """
    return int(text) if len(text) < MAX_NUMBER_DIGITS and text.isascii() and text.isdecimal() else otherwise
