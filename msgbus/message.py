"""What travels: the message a callback gets, the one an adapter sends, and one handing-over of it.

Our own headers begin with ``msgbus-`` and are strings; times are milliseconds since 1970 in UTC. A user's headers
never begin so, and a callback never sees ours: they are the fields of its `Message`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from msgbus.errors import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from msgbus.names import Address

_T = TypeVar("_T")

__all__ = [
    "ATTEMPTS",
    "BODY_MAX",
    "CONTENT_TYPE",
    "ERROR_MESSAGE",
    "ERROR_TRACEBACK",
    "ERROR_TYPE",
    "FAILING",
    "FIRST_FAILURE",
    "FREE",
    "HEADERS_MAX",
    "HOP",
    "ID",
    "KEY",
    "LAST_FAILURE",
    "LETTER",
    "NOT_BEFORE",
    "ORIGIN_GROUP",
    "ORIGIN_POSITION",
    "ORIGIN_QUEUE",
    "REASON",
    "REDRIVES",
    "RESERVED",
    "TIME",
    "TOMBSTONE",
    "Delivery",
    "Message",
    "Outgoing",
    "number",
    "received",
]

RESERVED: Final = "msgbus-"
ID: Final = "msgbus-id"
TIME: Final = "msgbus-time"
KEY: Final = "msgbus-key"
ATTEMPTS: Final = "msgbus-attempts"
"""Failures so far; absent is 0."""
FREE: Final = "msgbus-free"
"""Tries that failed during an outage and cost no attempt; absent is 0."""
FAILING: Final = "msgbus-failing"
"""Of a message that had free tries: milliseconds from its first failure until it is due, added up by the members that
had it, so that clocks which disagree do not matter."""
NOT_BEFORE: Final = "msgbus-not-before"
"""When it is due: nobody's callback sees it earlier."""
HOP: Final = "msgbus-hop"
"""When its time in this retry queue is over; it may have others to wait in."""
LETTER: Final = "msgbus-letter"
"""Of a dead letter: fresh for every dead-lettering, never the message's id."""
ORIGIN_QUEUE: Final = "msgbus-origin-queue"
ORIGIN_GROUP: Final = "msgbus-origin-group"
ORIGIN_POSITION: Final = "msgbus-origin-position"
FIRST_FAILURE: Final = "msgbus-first-failure"
LAST_FAILURE: Final = "msgbus-last-failure"
ERROR_TYPE: Final = "msgbus-error-type"
ERROR_MESSAGE: Final = "msgbus-error-message"
ERROR_TRACEBACK: Final = "msgbus-error-traceback"
REASON: Final = "msgbus-reason"
"""Why it was given up."""
REDRIVES: Final = "msgbus-redrives"
"""How often a dead letter of it was sent back."""
TOMBSTONE: Final = "msgbus-tombstone"
CONTENT_TYPE: Final = "content-type"

BODY_MAX: Final = 1024 * 1024
"""Bytes of a body: 1 MiB, what every broker takes with its own defaults or with what create_queue() sets."""
DIGITS: Final = 15
"""Fewer digits than this are a time before the year 5138, in milliseconds."""
HEADERS_MAX: Final = 32 * 1024
"""Bytes of all names and values of a message's headers together."""


_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a callback gets. The same on every broker, and the same again at a redelivery or another try."""

    body: bytes
    id: str
    """The publisher's, or made by publish(): the same in every copy, so a callback can recognise a repetition."""
    key: str | None
    """Messages of one key are handled one after another, in publish order."""
    headers: Mapping[str, str]
    """The publisher's own; read-only."""
    content_type: str
    """What publish() made of the body: ``application/json``, ``text/plain; charset=utf-8`` or
    ``application/octet-stream``; a foreign publisher's own word, or empty."""
    time: int
    """When publish() was called, by the publisher's clock, in milliseconds since 1970 (UTC)."""
    queue: str
    group: str
    attempt: int
    """1 at the first try, one more for each failure. A shutdown or a redelivery is not a failure."""
    redelivered: bool
    """A member had it before and did not acknowledge it; False promises nothing on Kafka, which keeps no count."""
    origin: str
    """Where it lies on the server: ``topic-0@17`` on Kafka, ``1700-0`` on Redis, empty on RabbitMQ."""
    system: Mapping[str, str] = field(default_factory=lambda: _NONE, repr=False)
    """msgbus's own other headers, as they lie on the server: how often it failed, when, with what."""

    @property
    def published_at(self) -> datetime:
        """When publish() was called, by the publisher's clock, to the millisecond, in UTC."""
        return datetime.fromtimestamp(self.time / 1000, UTC)

    @property
    def text(self) -> str:
        """The body as UTF-8. Raises InvalidPayload."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise InvalidPayload(f"the body is no UTF-8: {error}") from error

    def json(self) -> Any:
        """The body as JSON. Raises InvalidPayload."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise InvalidPayload(f"the body is no JSON: {error}") from error

    def parse(self, kind: type[_T]) -> _T:
        """The body, which is JSON, as a ``kind``: whatever pydantic can make. Raises InvalidPayload naming each field.

        A callback that lets InvalidPayload out has the message dead-lettered at once: no further try would mend it.
        """
        try:
            made: _T = _type_adapter(cast("Hashable", kind)).validate_json(self.body)
        except ValidationError as error:
            wrong = (f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
            raise InvalidPayload("; ".join(wrong)) from error
        return made


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


_Made: Any = type("_Made", (), {"__slots__": Message.__slots__})
"""A Message while it is made: the same slots, not frozen yet. Frozen from the start takes eight times as long."""


def received(  # noqa: PLR0913 - one row per thing a broker may know of a message
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
    made = _Made()
    made.body = body
    made.id = more.pop(ID, id)
    made.key = more.pop(KEY, key)
    made.time = number(more.pop(TIME), time) if TIME in more else time
    made.content_type = more.pop(CONTENT_TYPE, "")
    made.queue = address.queue
    made.group = group
    made.redelivered = redelivered
    made.origin = origin
    made.headers, made.system = _apart(more) if more else (_NONE, _NONE)  # nothing is left of most
    made.attempt = number(more[ATTEMPTS], 0) + 1 if ATTEMPTS in more else 1
    made.__class__ = Message
    return cast("Message", made)


def _apart(headers: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The publisher's own and ours, read-only."""
    own: dict[str, str] = {}
    system: dict[str, str] = {}
    for name, text in headers.items():
        (system if name.startswith(RESERVED) else own)[name] = text
    return MappingProxyType(own) if own else _NONE, MappingProxyType(system) if system else _NONE


def number(text: str, otherwise: int) -> int:
    """What we wrote, and never an error: a foreign client may write anything, and one message must not stop a queue."""
    return int(text) if len(text) < DIGITS and text.isascii() and text.isdecimal() else otherwise


@lru_cache(maxsize=256)
def _type_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))
