"""Types of rows and fetched records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.structs import TopicPartition

    Fetched: TypeAlias = Mapping[TopicPartition, Sequence["FetchedRecord"]]
    """The records of one fetch, in order within each partition."""

Row: TypeAlias = tuple[Any, ...]
"""A row of a request or response: its fields are told by their place, which differs by kind and version."""

__all__ = [
    "Fetched",
    "FetchedRecord",
    "Row",
]


class FetchedRecord(Protocol):
    """aiokafka's ConsumerRecord."""

    @property
    def topic(self) -> str:
        """The topic's name."""
        ...

    @property
    def partition(self) -> int:
        """The partition's number."""
        ...

    @property
    def offset(self) -> int:
        """The offset within the partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, by the publisher or the broker."""
        ...

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The record's value; None in a tombstone."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The record's headers; a name may occur more than once."""
        ...

    @property
    def serialized_key_size(self) -> int:
        """Bytes of the key; -1 without one."""
        ...

    @property
    def serialized_value_size(self) -> int:
        """Bytes of the value; -1 without one."""
        ...
