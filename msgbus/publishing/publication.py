"""Publications, and the message builder that turns them into outgoing messages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.headers import NOT_BEFORE, TOMBSTONE
from msgbus.arguments import to_seconds
from msgbus.errors import InvalidMessage
from msgbus.publishing.codec import checked_text, encode_body, wire_headers
from msgbus.publishing.message_ids import MessageIds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta
    from random import Random

    from msgbus.adapter.address import Address

__all__ = ["MessageBuilder", "Publication"]

DELAY_MAX_SECONDS: Final = 366 * 86_400.0
"""Longest delay of a publish, in seconds: a year."""


@dataclass(slots=True)
class Publication:
    """One message of ``publish_many()``; the fields are the arguments of ``publish()``."""

    body: Any
    message_id: str | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay: float | timedelta | None = None


class MessageBuilder:
    """Builds the messages that an adapter sends."""

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        """Create a builder. ``random`` is the source of ids; ``clock`` returns the seconds since 1970."""
        self._ids = MessageIds(random)
        self._clock = clock

    def build(  # noqa: PLR0913, PLR0917 - publish()'s arguments
        self,
        address: Address,
        body: Any,
        message_id: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float | timedelta | None = None,
        now: float | None = None,
    ) -> Outgoing:
        """Build one message for ``address``, published ``now`` (seconds since 1970; default: the clock's time).

        Raises:
            InvalidMessage: A header, the key, the id or the body cannot be published.
            MessageTooLarge: The body or the headers are over the limit.
            ConfigurationError: ``delay`` is out of range.
        """
        queue = address.queue
        data, content_type = encode_body(queue, body)
        wire = wire_headers(queue, headers, content_type)
        name = self._ids.next_id() if message_id is None else checked_text(queue, "message_id", message_id)
        if key is not None:
            key = checked_text(queue, "key", key)
        if body is None:
            if key is None:
                raise InvalidMessage(
                    f"queue {queue!r}: a body of None is a tombstone, which needs the key= that it removes; "
                    'publish b"null" for the JSON value null'
                )
            wire[TOMBSTONE] = "1"
        if now is None:
            now = self._clock()
        if delay is not None:
            seconds = to_seconds(f"queue {queue!r}", "delay", delay, least=0.0, most=DELAY_MAX_SECONDS)
            wire[NOT_BEFORE] = str(math.ceil((now + seconds) * 1000))
        return Outgoing(address, name, int(now * 1000), data, key, wire)

    def build_many(self, address: Address, messages: Iterable[Publication | Any]) -> list[Outgoing]:
        """Build messages with one publish time; an object that is no Publication is a body. Raise as ``build()``."""
        now = self._clock()
        return [
            self.build(address, each.body, each.message_id, each.key, each.headers, each.delay, now)
            if isinstance(each, Publication)
            else self.build(address, each, now=now)
            for each in messages
        ]
