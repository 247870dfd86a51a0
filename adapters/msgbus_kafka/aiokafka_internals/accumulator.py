"""The batches of a producer: what is filled, what waits for its partition or leader, and what is under way.

In the place of aiokafka's accumulator, which serves callers who wait for one message each: two futures, a serializer,
a lingering time and four callbacks for each batch, in two more turns of the event loop. Here a batch has one listener.
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

    OnBatchDone: TypeAlias = Callable[[Sequence[Any], BaseException | None], None]
    """Told what was in a batch that has ended, and why it failed if it did."""

__all__ = ["Accumulator", "Batch", "BatchAccumulator", "OpenBatch", "Record"]

RECORD_FORMAT_VERSION: Final = 2
"""Of records: with headers, and with sequence numbers."""


class Record(Protocol):
    """A record that can be put into a batch."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    sent: bool
    """It is in a batch: nobody can take it back."""


class OpenBatch(Protocol):
    """A batch that is being filled, on either producer path."""

    on_leave: Callable[[], None] | None
    """Called once the batch no longer blocks the next one of its partition."""

    def add(self, record: Record) -> bool:
        """Add ``record``; False if there is no room, or if the batch has been handed to the sender."""


class BatchAccumulator(Protocol):
    """The batches of one producer, on either producer path."""

    @property
    def waiting(self) -> Sized:
        """The partitions with batches that are not in flight."""

    def open_batch(self, partition: TopicPartition, ended: OnBatchDone) -> OpenBatch:
        """Return the batch of ``partition`` that is being filled."""

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
        """It as it lies on the wire, when it is sealed."""
        self.tries = 0
        self.on_leave: Callable[[], None] | None = None
        """Told when it no longer stands before what comes next."""
        self.over = False

    def add(self, record: Record) -> bool:
        """Whether there was room and it may be added to. There always is room for the first."""
        if self.tries or self.over:
            return False
        taken = self._builder.append(len(self.records), None, record.key, record.value, record.headers)
        if taken is None:
            return False
        self.records.append(record)
        record.sent = True
        return True

    def seal(self, producer: int, epoch: int, sequence: int) -> None:
        """Nothing is added any more; the server tells by these whether it has it already."""
        self._builder.set_producer_state(producer, epoch, sequence)
        self.data = self._builder.build()
        self._builder = None

    def waits_longer_than(self, seconds: float) -> bool:
        """Since it was begun."""
        return asyncio.get_running_loop().time() - self._since > seconds

    def leave_queue(self) -> None:
        """It does not stand before what comes next any more."""
        if self.on_leave is not None:
            asyncio.get_running_loop().call_soon(self.on_leave)
            self.on_leave = None

    def done(self, *_: object) -> None:
        """The server has it."""
        self._end(None)

    def failure(self, exception: BaseException) -> None:
        """It is not tried again."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if not self.over:
            self.over = True
            self._accumulator.forget(self)
            self.leave_queue()
            self._ended(self.records, error)


class Accumulator:
    """Those of one producer, in the order of each partition. The sender takes them when their leader can be asked."""

    def __init__(self, cluster: Any, sequences: Any, size: int, patience: float) -> None:
        """``sequences``: aiokafka's, by partition; ``size``: bytes of a batch; ``patience``: seconds for a leader."""
        self._cluster = cluster
        self._sequences = sequences
        self._size = size
        self._patience = patience
        self._in_flight: set[Batch] = set()
        self._wakeup = asyncio.get_running_loop().create_future()
        self._empty: asyncio.Future[None] | None = None
        self.waiting: Final[dict[TopicPartition, deque[Batch]]] = {}

    def open_batch(self, partition: TopicPartition, ended: OnBatchDone) -> Batch:
        """What comes next goes into this one, or when it has left."""
        queue = self.waiting.get(partition)
        if queue is None:
            queue = self.waiting[partition] = deque([Batch(self, partition, self._size, ended)])
            self.wake()
        return queue[-1]

    def fail_topic(self, topic: str, error: BaseException) -> None:
        """Fail what waits for its partitions' leaders."""
        for partition in [one for one in self.waiting if one.topic == topic]:
            for batch in self.waiting.pop(partition):
                batch.failure(error)

    # What the sender calls, by aiokafka's names where it is aiokafka that does.

    def waiter(self) -> asyncio.Future[None]:
        """Resolves when there may be something to send."""
        return self._wakeup

    def wake(self, _: object = None) -> None:
        """There may be something to send."""
        if not self._wakeup.done():
            self._wakeup.set_result(None)

    def take(
        self, busy: Collection[int], muted: Collection[TopicPartition]
    ) -> tuple[dict[int, dict[TopicPartition, Batch]], bool]:
        """What nodes that are not ``busy`` can be sent, and whether a batch has no leader."""
        if self._wakeup.done():
            self._wakeup = asyncio.get_running_loop().create_future()
        nodes: dict[int, dict[TopicPartition, Batch]] = {}
        leaderless = False
        for partition in [one for one in self.waiting if one not in muted]:
            leader = self._cluster.leader_for_partition(partition)
            if leader is None or leader == -1:
                leaderless = True
                if self.waiting[partition][0].waits_longer_than(self._patience):
                    self._pop(partition).failure(LeaderNotAvailableError())
            elif leader not in busy:
                nodes.setdefault(leader, {})[partition] = self._pop(partition)
        return nodes, leaderless

    def reenqueue(self, batch: Batch) -> None:
        """It is sent again, before what came after it."""
        if not batch.over:
            self._in_flight.remove(batch)
            self.waiting.setdefault(batch.partition, deque()).appendleft(batch)

    def fail_all(self, exception: BaseException) -> None:
        """Nothing is sent any more."""
        waiting = [batch for queue in self.waiting.values() for batch in queue]
        self.waiting.clear()
        for batch in (*waiting, *self._in_flight):
            batch.failure(exception)

    async def close(self) -> None:
        """Wait until everything has ended."""
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
        """It has ended."""
        self._in_flight.discard(batch)
        if self._empty is not None and not self._empty.done() and not self.waiting and not self._in_flight:
            self._empty.set_result(None)
