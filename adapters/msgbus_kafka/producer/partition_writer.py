"""A partition's batches, filled by one hand.

aiokafka's send() costs a coroutine, a future and a look at the metadata for each message, and with thousands of callers
waiting in it the square of their number. Here a message is added to the open batch, or waits without a task.
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
    """One partition of a producer's: the batch that is being filled, and what waits while it is full."""

    def __init__(
        self,
        batches: BatchAccumulator,
        partition: TopicPartition,
        ended: OnBatchDone,
        left: Callable[[PartitionWriter], None],
    ) -> None:
        """``left`` is told when a batch no longer stands before what waits."""
        self._accumulator = batches
        self._partition = partition
        self._ended = ended
        self._on_leave = partial(left, self)
        self._batch: OpenBatch | None = None
        self.waiting: deque[Record] = deque()

    def put(self, item: Record) -> None:
        """Into the batch, or behind what waits for the next one."""
        if self.waiting or not self._add(item):
            self.waiting.append(item)

    def resume(self) -> None:
        """There is room again."""
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
