"""Accumulator of the fast producer path.

Batches that are filled, that wait for their partition or leader, or are in flight.

    PartitionWriter -> Accumulator.open_batch() -> Batch.add()
    FastSender -> Accumulator.take() -> Batch.seal() -> FastProduceHandler -> Batch.done() | failure() | reenqueue()

aiokafka 0.14. Replaces ``MessageAccumulator``, which serves callers that each wait for one message: two futures, a
serializer, a linger time and four callbacks for each batch cost two more event-loop turns. Here a batch has one
listener. Tests: test_accumulator.py, test_sender.py. Unnecessary when aiokafka's own path is as fast.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka.errors import LeaderNotAvailableError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence, Sized
    from typing import TypeAlias

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.client_types.network import LeaderView
    from msgbus_kafka.client_types.producer import SequenceNumbers

    OnBatchDone: TypeAlias = Callable[[Sequence[Any], BaseException | None], None]
    """Called with the records of a batch that has ended, and its error or None."""

__all__ = ["Accumulator", "Batch", "BatchAccumulator", "OpenBatch", "Record"]

RECORD_FORMAT_VERSION: Final = 2
"""Of records: with headers, and with sequence numbers."""


class Record(Protocol):
    """A record that can be added to a batch."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    sent: bool
    """It is in a batch and cannot be taken back."""


class OpenBatch(Protocol):
    """A batch that is being filled, on either producer path."""

    on_leave: Callable[[], None] | None
    """Called once the batch no longer blocks the next one of its partition."""

    def add(self, record: Record) -> bool:
        """Add ``record``; False if there is no room, or if the batch has been handed to the sender."""
        ...


class BatchAccumulator(Protocol):
    """The batches of one producer, on either producer path."""

    @property
    def waiting(self) -> Sized:
        """The partitions with batches that are not in flight."""
        ...

    def open_batch(self, partition: TopicPartition, ended: OnBatchDone) -> OpenBatch:
        """Return the batch of ``partition`` that is being filled."""
        ...

    def fail_topic(self, topic: str, error: BaseException) -> None:
        """Fail the batches of ``topic`` that wait for a leader."""

    def fail_all(self, exception: BaseException, /) -> None:
        """Fail every batch and send none of them any more."""


class Batch:
    """Records of one partition that are sent together."""

    __slots__ = (
        "_accumulator",
        "_builder",
        "_ended",
        "_since",
        "data",
        "on_leave",
        "over",
        "partition",
        "records",
        "tries",
    )

    def __init__(self, batches: Accumulator, partition: TopicPartition, size: int, ended: OnBatchDone) -> None:
        self._accumulator = batches
        self.partition = partition
        self._builder: Any = DefaultRecordBatchBuilder(
            magic=RECORD_FORMAT_VERSION,
            compression_type=0,
            is_transactional=False,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=size,
        )
        self._ended = ended
        self._since = asyncio.get_running_loop().time()
        self.records: list[Record] = []
        self.data = b""
        """The encoded batch, once it is sealed."""
        self.tries = 0
        self.on_leave: Callable[[], None] | None = None
        """Called once the batch no longer blocks the next one of its partition."""
        self.over = False

    def add(self, record: Record) -> bool:
        """Add ``record``; return whether there was room. The first record always has room."""
        if self.tries or self.over:
            return False
        taken = self._builder.append(len(self.records), None, record.key, record.value, record.headers)
        if taken is None:
            return False
        self.records.append(record)
        record.sent = True
        return True

    def seal(self, producer: int, epoch: int, sequence: int) -> None:
        """Close the batch for sending. The broker recognises a repeated batch by these numbers."""
        self._builder.set_producer_state(producer, epoch, sequence)
        self.data = self._builder.build()
        self._builder = None

    def waits_longer_than(self, seconds: float) -> bool:
        """Return whether the batch was begun more than ``seconds`` ago."""
        return asyncio.get_running_loop().time() - self._since > seconds

    def leave_queue(self) -> None:
        """Notify the partition writer that this batch no longer blocks the next one."""
        if self.on_leave is not None:
            asyncio.get_running_loop().call_soon(self.on_leave)
            self.on_leave = None

    def done(self, *_: object) -> None:
        """Complete the batch: the broker has acknowledged it. aiokafka calls it by this name."""
        self._end(None)

    def failure(self, exception: BaseException) -> None:
        """Complete the batch with an error that is not retried. aiokafka calls it by this name."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if not self.over:
            self.over = True
            self._accumulator.forget(self)
            self.leave_queue()
            self._ended(self.records, error)


class Accumulator:
    """The batches of one producer, in order within each partition. The sender takes them when their leader is free."""

    def __init__(self, cluster: LeaderView, sequences: SequenceNumbers, size: int, patience: float) -> None:
        """Prepare an accumulator without batches.

        Args:
            cluster: aiokafka's metadata of the cluster.
            sequences: aiokafka's sequence numbers of the idempotent producer.
            size: Bytes in one batch, at most.
            patience: Seconds that a batch waits for a leader of its partition.
        """
        self._cluster = cluster
        self._sequences = sequences
        self._batch_size = size
        self._batch_ttl = patience
        self._in_flight: set[Batch] = set()
        self._wakeup = asyncio.get_running_loop().create_future()
        self._empty: asyncio.Future[None] | None = None
        self.waiting: Final[dict[TopicPartition, deque[Batch]]] = {}

    def open_batch(self, partition: TopicPartition, ended: OnBatchDone) -> Batch:
        """Return the batch that takes the next record, or that must leave before there is room."""
        queue = self.waiting.get(partition)
        if queue is None:
            queue = self.waiting[partition] = deque([Batch(self, partition, self._batch_size, ended)])
            self.wake()
        return queue[-1]

    def fail_topic(self, topic: str, error: BaseException) -> None:
        """Fail the batches that wait for the leaders of ``topic``."""
        for partition in [one for one in self.waiting if one.topic == topic]:
            for batch in self.waiting.pop(partition):
                batch.failure(error)

    # Called by the sender; methods that aiokafka calls keep its names.

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that resolves when there may be something to send."""
        return self._wakeup

    def wake(self, _: object = None) -> None:
        """Wake the sender."""
        if not self._wakeup.done():
            self._wakeup.set_result(None)

    def take(
        self, busy: Collection[int], muted: Collection[TopicPartition]
    ) -> tuple[dict[int, dict[TopicPartition, Batch]], bool]:
        """Take one batch per partition for nodes that are not ``busy``; return also whether a batch has no leader."""
        if self._wakeup.done():
            self._wakeup = asyncio.get_running_loop().create_future()
        nodes: dict[int, dict[TopicPartition, Batch]] = {}
        leaderless = False
        for partition in [one for one in self.waiting if one not in muted]:
            leader = self._cluster.leader_for_partition(partition)
            if leader is None or leader == -1:
                leaderless = True
                if self.waiting[partition][0].waits_longer_than(self._batch_ttl):
                    self._pop(partition).failure(LeaderNotAvailableError())
            elif leader not in busy:
                nodes.setdefault(leader, {})[partition] = self._pop(partition)
        return nodes, leaderless

    def reenqueue(self, batch: Batch) -> None:
        """Queue ``batch`` again, before the batches that came after it."""
        if not batch.over:
            self._in_flight.remove(batch)
            self.waiting.setdefault(batch.partition, deque()).appendleft(batch)

    def fail_all(self, exception: BaseException) -> None:
        """Fail every batch."""
        waiting = [batch for queue in self.waiting.values() for batch in queue]
        self.waiting.clear()
        for batch in (*waiting, *self._in_flight):
            batch.failure(exception)

    async def close(self) -> None:
        """Wait until every batch has ended."""
        if self.waiting or self._in_flight:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def _pop(self, partition: TopicPartition) -> Batch:
        queue = self.waiting[partition]
        batch = queue.popleft()
        if not queue:
            del self.waiting[partition]
        if not batch.tries:
            numbers = self._sequences
            sequence = numbers.sequence_number(partition)
            numbers.increment_sequence_number(partition, len(batch.records))
            batch.seal(numbers.producer_id, numbers.producer_epoch, sequence)
        batch.tries += 1
        batch.leave_queue()
        self._in_flight.add(batch)
        return batch

    def forget(self, batch: Batch) -> None:
        """Remove a batch that has ended."""
        self._in_flight.discard(batch)
        if self._empty is not None and not self._empty.done() and not self.waiting and not self._in_flight:
            self._empty.set_result(None)
