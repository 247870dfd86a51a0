"""Types of the aiokafka objects that msgbus uses. aiokafka has no types of its own: these list what is used of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from aiokafka import ConsumerRebalanceListener
    from aiokafka.structs import TopicPartition

    Fetched: TypeAlias = Mapping[TopicPartition, Sequence["FetchedRecord"]]
    """The records of one fetch, in order within each partition."""

__all__ = ["ClusterView", "ConsumerClient", "Fetched", "FetchedRecord", "NetworkClient", "ProducerClient"]


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


class ConsumerClient(Protocol):
    """aiokafka's AIOKafkaConsumer."""

    async def start(self) -> None:
        """Connect, and join the group if there is one."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Fetched:
        """Return fetched records of ``partitions``, or of all."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """Return the next offset to fetch."""
        ...

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each log."""
        ...

    async def seek_to_beginning(self, *partitions: TopicPartition) -> object:
        """Move the positions to the oldest records."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Move the position of ``partition``."""

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch ``partitions`` no more."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch ``partitions`` again."""

    def subscribe(self, topics: Sequence[str], *, listener: ConsumerRebalanceListener | None = None) -> None:
        """Replace the subscription."""

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Replace the partitions of a consumer without a group."""

    def assignment(self) -> Collection[TopicPartition]:
        """Return the assigned partitions."""
        ...


class ClusterView(Protocol):
    """aiokafka's ClusterMetadata."""

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        """Return the partitions of ``topic``."""
        ...

    def available_partitions_for_topic(self, topic: str) -> Collection[int] | None:
        """Return the partitions of ``topic`` that have a leader."""
        ...


class NetworkClient(Protocol):
    """aiokafka's AIOKafkaClient. Requests and responses are aiokafka's own, one class for each version."""

    @property
    def cluster(self) -> ClusterView:
        """The metadata."""
        ...

    async def bootstrap(self) -> None:
        """Connect to the cluster."""

    def get_random_node(self) -> Any:
        """Return the id of a node."""
        ...

    async def send(self, node_id: int, request: Any) -> Any:
        """Return the response of a node."""
        ...

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Request the metadata."""
        ...


class ProducerClient(Protocol):
    """aiokafka's AIOKafkaProducer."""

    @property
    def client(self) -> NetworkClient:
        """The producer's own client."""
        ...

    async def start(self) -> None:
        """Connect and get a producer id."""

    async def partitions_for(self, topic: str) -> Collection[int]:
        """Return the partitions of ``topic``."""
        ...
