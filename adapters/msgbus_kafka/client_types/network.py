"""Types of aiokafka's AIOKafkaClient, its connections, its metadata, and responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.client_types.records import Row

__all__ = [
    "BrokerNode",
    "ClusterView",
    "Connection",
    "ConnectionProtocol",
    "LeaderView",
    "MetadataResponse",
    "NetworkClient",
    "Response",
]


class NetworkClient(Protocol):
    """aiokafka's AIOKafkaClient. Requests and responses are aiokafka's own, one class for each version."""

    bootstrap: Callable[[], Awaitable[None]]
    """Connect to the cluster."""
    send: Callable[..., Awaitable[Any]]
    """Return the response of a node to a request, whose type depends on the request."""
    _conns: Mapping[object, Connection]
    _get_conn: Callable[..., Awaitable[object]]
    _get_conn_lock: asyncio.Lock
    _md_update_fut: asyncio.Future[bool] | None
    _metadata_update: Callable[[ClusterView, Iterable[str]], Awaitable[bool]]
    _on_connection_closed: Callable[[Connection, object], None]
    _sync_task: asyncio.Task[None] | None

    @property
    def cluster(self) -> ClusterView:
        """The metadata."""
        ...

    def get_random_node(self) -> int:
        """Return the id of a node."""
        ...

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Request the metadata."""
        ...

    async def close(self) -> None:
        """Close every connection. Only with a bound: see aiokafka_internals.shutdown."""

    async def _md_synchronizer(self) -> None: ...


class LeaderView(Protocol):
    """Leaders of partitions."""

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        """Return the leading node; None or -1 where there is none."""
        ...


class ClusterView(LeaderView, Protocol):
    """aiokafka's ClusterMetadata."""

    _partitions: object

    def brokers(self) -> Iterable[BrokerNode]:
        """Return the nodes."""
        ...

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        """Return the partitions of ``topic``."""
        ...

    def available_partitions_for_topic(self, topic: str) -> Collection[int] | None:
        """Return the partitions of ``topic`` that have a leader."""
        ...

    def update_metadata(self, metadata: MetadataResponse) -> None:
        """Take a newer state of the cluster."""


class BrokerNode(Protocol):
    """A node's address."""

    @property
    def host(self) -> str:
        """The name or address."""
        ...

    @property
    def port(self) -> int:
        """The port."""
        ...


class Connection(Protocol):
    """aiokafka's AIOKafkaConnection."""

    @property
    def _protocol(self) -> ConnectionProtocol: ...

    async def send(self, request: object) -> Any:
        """Return the response, whose type depends on ``request``."""
        ...

    def close(self) -> object:
        """Close the connection."""
        ...


class ConnectionProtocol(Protocol):
    """The asyncio protocol of a connection."""

    @property
    def _transport(self) -> asyncio.Transport | None: ...


class MetadataResponse(Protocol):
    """The nodes and topics of a cluster."""

    @property
    def brokers(self) -> Sequence[Row]:
        """Of each live node its number, host and port, and more."""
        ...

    @property
    def topics(self) -> Sequence[tuple[int, str, bool, Sequence[Row]]]:
        """Of each topic its error, its name, whether it is Kafka's own, and its partitions."""
        ...


class Response(Protocol):
    """A response with rows by topic."""

    API_VERSION: int
    topics: Iterable[tuple[str, Iterable[Row]]]
