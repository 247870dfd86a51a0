"""Types of aiokafka's AIOKafkaConsumer, its subscription, group coordinator and fetcher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from aiokafka import ConsumerRebalanceListener
    from aiokafka.structs import OffsetAndMetadata, TopicPartition

    from msgbus_kafka.client_types.network import NetworkClient, Response
    from msgbus_kafka.client_types.records import Fetched

__all__ = [
    "Assignment",
    "ConsumerClient",
    "Coordinator",
    "FetchRequest",
    "Fetcher",
    "PartitionRecords",
    "PartitionState",
    "Subscription",
    "SubscriptionState",
]


class ConsumerClient(Protocol):
    """aiokafka's AIOKafkaConsumer."""

    _client: NetworkClient
    _coordinator: Coordinator
    """Set by start(), as the fetcher is."""
    _fetcher: Fetcher
    _subscription: SubscriptionState

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

    async def stop(self) -> None:
        """Leave the group and close. Only with a bound: see aiokafka_internals.shutdown."""


class SubscriptionState(Protocol):
    """The subscription of a consumer, and what is assigned to it."""

    reassignment_in_progress: bool
    """The subscription was replaced since the last assignment."""

    @property
    def subscription(self) -> Subscription:
        """The current subscription."""
        ...

    def assigned_partitions(self) -> Collection[TopicPartition]:
        """Return the assigned partitions."""
        ...

    def unsubscribe(self) -> None:
        """Drop the subscription and its assignment."""


class Subscription(Protocol):
    """What a consumer has subscribed to."""

    @property
    def assignment(self) -> Assignment | None:
        """The partitions that the group has assigned; None before it has."""
        ...


class Assignment(Protocol):
    """Assigned partitions; another object after each rebalance."""

    @property
    def active(self) -> bool:
        """Whether it is the current one."""
        ...

    def state_value(self, partition: TopicPartition) -> PartitionState | None:
        """Return the state of ``partition``."""
        ...


class PartitionState(Protocol):
    """The position of an assigned partition."""

    @property
    def has_valid_position(self) -> bool:
        """Whether the position is known."""
        ...

    @property
    def position(self) -> int:
        """The next offset to fetch. Raises AssertionError where it is not known."""
        ...


class Coordinator(Protocol):
    """aiokafka's GroupCoordinator. Its tasks are not listed: without a group it has only some of them."""

    generation: int
    """The group's generation that this consumer belongs to; -1: none."""
    coordinator_id: int | None
    """The node that coordinates the group; None: not known."""
    _rejoin_needed_fut: asyncio.Future[None]
    _send_req: Callable[[object], Awaitable[Response]]
    _do_commit_offsets: Callable[[object, object], Awaitable[object]]
    _subscription: SubscriptionState

    async def commit_offsets(self, assignment: object, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit ``offsets`` in the current generation; ``assignment`` may be None."""

    def check_errors(self) -> None:
        """Raise the error that ended the membership."""

    def coordinator_dead(self) -> None:
        """Look for the coordinator again before the next request."""

    async def _maybe_leave_group(self) -> None: ...


class Fetcher(Protocol):
    """The fetcher of a consumer."""

    _client: NetworkClient
    _fetch_task: asyncio.Task[None]
    _pending_tasks: Collection[asyncio.Task[None]]
    _in_flight: set[int]
    _records: Mapping[TopicPartition, object]
    """The fetched records, or the error, of each partition that wait to be taken."""
    _wait_consume_future: asyncio.Future[None] | None
    _proc_fetch_request: Callable[[Assignment, int, FetchRequest], Awaitable[bool]]
    _set_error: Callable[[TopicPartition, Exception], None]


class PartitionRecords(Protocol):
    """The fetched records of one partition."""

    _records: object

    @property
    def next_fetch_offset(self) -> int:
        """The offset of the next record to take."""
        ...


class FetchRequest(Protocol):
    """A request for records."""

    _max_wait_ms: int
