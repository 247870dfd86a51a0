"""Types of aiokafka's AIOKafkaProducer, its sender, accumulator and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Collection, Sequence

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.client_types.network import NetworkClient

__all__ = [
    "BatchBuilder",
    "MessageAccumulator",
    "ProducerClient",
    "ProducerSender",
    "SequenceNumbers",
]


class ProducerClient(Protocol):
    """aiokafka's AIOKafkaProducer."""

    _message_accumulator: MessageAccumulator
    _sender: ProducerSender
    _txn_manager: SequenceNumbers

    @property
    def client(self) -> NetworkClient:
        """The producer's own client."""
        ...

    async def start(self) -> None:
        """Connect and get a producer id."""

    async def stop(self) -> None:
        """Send pending batches and close. Only with a bound: see aiokafka_internals.shutdown."""

    async def partitions_for(self, topic: str) -> Collection[int]:
        """Return the partitions of ``topic``."""
        ...

    def create_batch(self) -> BatchBuilder:
        """Return an empty batch."""
        ...

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> Awaitable[object]:
        """Hand ``batch`` over; the result ends with the broker's answer."""
        ...


class ProducerSender(Protocol):
    """The sender of a producer."""

    _acks: int
    _request_timeout_ms: int
    _retry_backoff: float
    _sender_task: asyncio.Task[None] | None

    @property
    def sender_task(self) -> asyncio.Task[None]:
        """The task of a started sender."""
        ...


class MessageAccumulator(Protocol):
    """The batches of a producer: aiokafka's, or what stands in for it."""

    _batch_size: int
    _batch_ttl: float

    def fail_all(self, exception: BaseException, /) -> None:
        """Fail every batch."""


class SequenceNumbers(Protocol):
    """The producer's id, and the number of the next record of each partition: aiokafka's TransactionManager."""

    @property
    def producer_id(self) -> int:
        """The id that the cluster gave to the producer."""
        ...

    @property
    def producer_epoch(self) -> int:
        """The epoch of that id."""
        ...

    def sequence_number(self, partition: TopicPartition) -> int:
        """Return the number of the next record of ``partition``."""
        ...

    def increment_sequence_number(self, partition: TopicPartition, increment: int) -> None:
        """Count records of ``partition``."""


class BatchBuilder(Protocol):
    """A batch that is filled by its caller: aiokafka's BatchBuilder."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> object:
        """Add a record; None if there is no room."""
        ...

    def close(self) -> None:
        """Take no more records."""
