"""Message: what a callback gets.

Headers of msgbus itself begin with ``msgbus-`` and are strings; times are milliseconds since 1970 in UTC. A user's
headers never begin so. A callback does not see msgbus' headers: they are fields of :class:`Message`.
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


_TOMBSTONE: Final = "msgbus-tombstone"
"""The same as ``msgbus.adapter.headers.TOMBSTONE``, which is in a layer above."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as a callback gets it: the same on every broker, at a redelivery, and at every try."""

    body: bytes
    id: str
    """Id from the publisher or from ``publish()``. All copies have it, so a callback can recognise a repetition."""
    key: str | None
    """Ordering key: messages of one key are handled one after another, in publish order. None: no order."""
    headers: Mapping[str, str]
    """The publisher's own headers; read-only."""
    content_type: str
    """How ``publish()`` encoded the body: ``application/json``, ``text/plain; charset=utf-8`` or
    ``application/octet-stream``. From a third-party client: its own content type, or empty."""
    time: int
    """When ``publish()`` was called, by the publisher's clock, in milliseconds since 1970 (UTC)."""
    queue: str
    """Full name of the queue that the message was published to."""
    group: str
    """The group that this callback belongs to."""
    attempt: int
    """1 at the first try, one more after each failure. A shutdown or a redelivery is not a failure."""
    redelivered: bool
    """Whether a member had it before and did not acknowledge it. Kafka keeps no count: False says nothing there."""
    origin: str
    """Its place on the server: ``topic-0@17`` on Kafka, ``1700-0`` on Redis, empty on RabbitMQ."""
    system: Mapping[str, str] = field(default_factory=lambda: _NONE, repr=False)
    """msgbus' other headers as they are on the server: how often the message failed, when, and with what error."""

    @property
    def is_tombstone(self) -> bool:
        """Whether it was published with the body None: what its key named is gone. Its body is empty."""
        return _TOMBSTONE in self.system

    @property
    def published_at(self) -> datetime:
        """When ``publish()`` was called, by the publisher's clock, to the millisecond, in UTC."""
        return datetime.fromtimestamp(self.time / 1000, UTC)

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8.

        Raises:
            InvalidPayload: The body is not UTF-8.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise InvalidPayload(f"the body is not UTF-8: {error}") from error

    def json(self) -> Any:
        """Parse the body as JSON.

        Returns:
            The parsed body.

        Raises:
            InvalidPayload: The body is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise InvalidPayload(f"the body is not JSON: {error}") from error

    def parse(self, kind: type[_T]) -> _T:
        """Parse the body, which is JSON, as a ``kind``.

        Args:
            kind: A model, dataclass, or any other type that pydantic can make.

        Returns:
            The parsed body.

        Raises:
            InvalidPayload: The body does not fit; the text names each field. When a callback lets this error pass, the
                message is dead-lettered at once: no further try could succeed.
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
