"""A message as a service publishes it, and as an adapter sends it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from msgbus.codec import encode_body, wire_headers, word
from msgbus.errors import ConfigurationError
from msgbus.ids import Ids
from msgbus.message import NOT_BEFORE, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from random import Random

    from msgbus.names import Address

__all__ = ["Composer", "Publication"]

DELAY_MAX: Final = 366 * 86_400.0
"""Seconds that a message may be delayed: a year."""


@dataclass(slots=True)
class Publication:
    """One message of publish_many(); the fields are publish()'s arguments."""

    body: Any
    message_id: str | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay: float | None = None


class Composer:
    """Makes of a publication what an adapter sends."""

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        """``random`` is where ids come from; ``clock`` gives the time of day, in seconds since 1970."""
        self._ids = Ids(random)
        self._clock = clock

    def one(self, address: Address, one: Publication) -> Outgoing:
        """``one`` for ``address``. Raises InvalidMessage, MessageTooLarge, ConfigurationError for its delay."""
        return self._outgoing(address, one, self._clock())

    def many(self, address: Address, messages: Iterable[Publication | Any]) -> list[Outgoing]:
        """``messages``, published at the same time; anything that is no Publication is a body. Raises as one() does."""
        now = self._clock()
        return [
            self._outgoing(address, one if isinstance(one, Publication) else Publication(one), now) for one in messages
        ]

    def _outgoing(self, address: Address, one: Publication, now: float) -> Outgoing:
        queue = address.queue
        body, content_type = encode_body(queue, one.body)
        headers = wire_headers(queue, one.headers, content_type)
        name = self._ids.one() if one.message_id is None else word(queue, "message_id", one.message_id)
        key = None if one.key is None else word(queue, "key", one.key)
        if one.delay is not None:
            headers[NOT_BEFORE] = str(math.ceil((now + _seconds(queue, one.delay)) * 1000))
        return Outgoing(address, name, int(now * 1000), body, key, headers)


def _seconds(queue: str, delay: float) -> float:
    if not 0 <= delay <= DELAY_MAX:
        raise ConfigurationError(f"queue {queue!r}: delay must be 0 to {DELAY_MAX:g} seconds, not {delay!r}")
    return delay
