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
    from collections.abc import Callable, Collection, Sequence
    from typing import TypeAlias

    from aiokafka.structs import TopicPartition

    Ended: TypeAlias = Callable[[Sequence[Any], BaseException | None], None]
    """Told what was in a batch that has ended, and why it failed if it did."""

__all__ = ["Batch", "Batches", "batches_of"]

FORMAT: Final = 2
"""Of records: with headers, and with sequence numbers."""


class Record(Protocol):
    """A record that can be put into a batch."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    sent: bool
    """It is in a batch: nobody can take it back."""


class Batch:
    """Records of one partition that are sent together."""

    __slots__ = ("_batches", "_builder", "_ended", "_since", "data", "left", "over", "partition", "records", "tries")

    def __init__(self, batches: Batches, partition: TopicPartition, size: int, ended: Ended) -> None:
        self._batches = batches
        self.partition = partition
        self._builder: Any = DefaultRecordBatchBuilder(
            magic=FORMAT,
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
        self.left: Callable[[], None] | None = None
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

    def depart(self) -> None:
        """It does not stand before what comes next any more."""
        if self.left is not None:
            asyncio.get_running_loop().call_soon(self.left)
            self.left = None

    def done(self, *_: object) -> None:
        """The server has it."""
        self._end(None)

    def failure(self, exception: BaseException) -> None:
        """It is not tried again."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if not self.over:
            self.over = True
            self._batches.forget(self)
            self.depart()
            self._ended(self.records, error)


class Batches:
    """Those of one producer, in the order of each partition. The sender takes them when their leader can be asked."""

    def __init__(self, cluster: Any, sequences: Any, size: int, patience: float) -> None:
        """``sequences``: aiokafka's, by partition; ``size``: bytes of a batch; ``patience``: seconds for a leader."""
        self._cluster = cluster
        self._sequences = sequences
        self._size = size
        self._patience = patience
        self._under_way: set[Batch] = set()
        self._news = asyncio.get_running_loop().create_future()
        self._empty: asyncio.Future[None] | None = None
        self.waiting: Final[dict[TopicPartition, deque[Batch]]] = {}

    def last(self, partition: TopicPartition, ended: Ended) -> Batch:
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
        return self._news

    def wake(self, _: object = None) -> None:
        """There may be something to send."""
        if not self._news.done():
            self._news.set_result(None)

    def take(
        self, busy: Collection[int], muted: Collection[TopicPartition]
    ) -> tuple[dict[int, dict[TopicPartition, Batch]], bool]:
        """What nodes that are not ``busy`` can be sent, and whether a batch has no leader."""
        if self._news.done():
            self._news = asyncio.get_running_loop().create_future()
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
            self._under_way.remove(batch)
            self.waiting.setdefault(batch.partition, deque()).appendleft(batch)

    def fail_all(self, exception: BaseException) -> None:
        """Nothing is sent any more."""
        waiting = [batch for queue in self.waiting.values() for batch in queue]
        self.waiting.clear()
        for batch in (*waiting, *self._under_way):
            batch.failure(exception)

    async def close(self) -> None:
        """Wait until everything has ended."""
        if self.waiting or self._under_way:
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
        batch.depart()
        self._under_way.add(batch)
        return batch

    def forget(self, batch: Batch) -> None:
        """It has ended."""
        self._under_way.discard(batch)
        if self._empty is not None and not self._empty.done() and not self.waiting and not self._under_way:
            self._empty.set_result(None)


def batches_of(producer: Any) -> Batches:
    """Those of an AIOKafkaProducer that has them."""
    batches: Batches = producer._message_accumulator  # noqa: SLF001
    return batches
