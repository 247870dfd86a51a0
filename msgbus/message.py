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


_T = TypeVar("_T")

__all__ = ["Message"]


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


@lru_cache(maxsize=256)
def _type_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))
