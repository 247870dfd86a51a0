"""Partition writer: fills the batches of one partition in the order of the calls.

aiokafka's send() costs a coroutine, a future and a metadata check for each message; with thousands of waiting callers
the cost grows with the square of their number. Here a message is added to the open batch, or waits without a task.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.aiokafka_internals.accumulator import BatchAccumulator, OnBatchDone, OpenBatch
    from msgbus_kafka.producer.record import Record

__all__ = ["PartitionWriter"]


class PartitionWriter:
    """The open batch of one partition of a producer, and the records that wait while it is full."""

    def __init__(
        self,
        batches: BatchAccumulator,
        partition: TopicPartition,
        ended: OnBatchDone,
        left: Callable[[PartitionWriter], None],
    ) -> None:
        """Prepare a writer without records. It calls ``left`` when a batch no longer blocks the waiting records."""
        self._accumulator = batches
        self._partition = partition
        self._ended = ended
        self._on_leave = partial(left, self)
        self._batch: OpenBatch | None = None
        self.waiting: deque[Record] = deque()

    def put(self, item: Record) -> None:
        """Add ``item`` to the batch, or to the records that wait for the next one."""
        if self.waiting or not self._add(item):
            self.waiting.append(item)

    def resume(self) -> None:
        """Move waiting records into the batch."""
        while self.waiting and (self.waiting[0].call.over or self._add(self.waiting[0])):
            self.waiting.popleft()

    def _add(self, item: Record) -> bool:
        if self._batch is not None and self._batch.add(item):
            return True
        self._batch = self._accumulator.open_batch(self._partition, self._ended)
        if self._batch.add(item):
            return True
        self._batch.on_leave = self._on_leave
        return False
