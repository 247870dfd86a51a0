"""Batches that are sent through aiokafka's public ``send_batch()``: the fallback of the fast producer path.

Used where the installed aiokafka lacks a part that the fast path replaces (see
:mod:`msgbus_kafka.aiokafka_internals.verify`). It has the interface of
:class:`~msgbus_kafka.aiokafka_internals.accumulator.Accumulator` and makes the same promises:

- The batches of one partition are sent one after another, in the order in which they were opened.
- A batch is filled while the one before it is in flight.
- A record is marked as ``sent`` when it is in a batch: after that its outcome may be unknown.

It costs a task for each partition with pending batches, and aiokafka's own futures for each batch.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiokafka.structs import TopicPartition

    from msgbus_kafka.aiokafka_internals.accumulator import OnBatchDone, Record
    from msgbus_kafka.client_types.producer import BatchBuilder, ProducerClient

__all__ = ["SendBatchAccumulator"]


class SendBatch:
    """Records of one partition that aiokafka sends together."""

    __slots__ = ("_builder", "_ended", "on_leave", "over", "partition", "records")

    def __init__(self, partition: TopicPartition, builder: BatchBuilder, ended: OnBatchDone) -> None:
        self.partition = partition
        self.records: list[Record] = []
        self.over = False
        self.on_leave: Callable[[], None] | None = None
        """Called once the batch no longer blocks the next one of its partition."""
        self._builder = builder
        self._ended = ended

    def add(self, record: Record) -> bool:
        """Add ``record``; False if there is no room, or if the batch has been handed to aiokafka."""
        if self.over:
            return False
        taken = self._builder.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)
        if taken is None:
            return False
        self.records.append(record)
        record.sent = True
        return True

    async def send(self, producer: ProducerClient) -> None:
        """Hand the batch to ``producer`` and wait for the broker's answer."""
        self._builder.close()
        self._leave_queue()
        try:
            answered = await producer.send_batch(
                self._builder, self.partition.topic, partition=self.partition.partition
            )
            await answered
        except Exception as error:  # noqa: BLE001 - after any error, its records need a result
            self.end(error)
        else:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Complete the batch, once."""
        if not self.over:
            self.over = True
            self._leave_queue()
            self._ended(self.records, error)

    def _leave_queue(self) -> None:
        if self.on_leave is not None:
            asyncio.get_running_loop().call_soon(self.on_leave)
            self.on_leave = None


class SendBatchAccumulator:
    """The batches of one AIOKafkaProducer, by partition."""

    def __init__(self, producer: ProducerClient) -> None:
        self._producer = producer
        _retrieve_drain_errors(producer._message_accumulator)
        self._in_flight: set[SendBatch] = set()
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self.waiting: Final[dict[TopicPartition, SendBatch]] = {}
        """The batch of each partition that is being filled and waits to be sent."""

    def open_batch(self, partition: TopicPartition, ended: OnBatchDone) -> SendBatch:
        """Return the batch of ``partition`` that is being filled."""
        batch = self.waiting.get(partition)
        if batch is None:
            batch = self.waiting[partition] = SendBatch(partition, self._producer.create_batch(), ended)
            if partition not in self._tasks:
                self._tasks[partition] = asyncio.get_running_loop().create_task(self._send_waiting(partition))
        return batch

    async def _send_waiting(self, partition: TopicPartition) -> None:
        try:
            while (batch := self.waiting.pop(partition, None)) is not None:
                self._in_flight.add(batch)
                try:
                    await batch.send(self._producer)
                finally:
                    self._in_flight.discard(batch)
        finally:
            if self._tasks.get(partition) is asyncio.current_task():
                del self._tasks[partition]

    def fail_topic(self, topic: str, error: BaseException) -> None:
        """Fail every batch of ``topic``.

        Batches that aiokafka holds are included: msgbus cannot see which of them wait for a leader.
        """
        for batch in [*self.waiting.values(), *self._in_flight]:
            if batch.partition.topic == topic:
                self.waiting.pop(batch.partition, None)
                batch.end(error)

    def fail_all(self, error: BaseException) -> None:
        """Fail every batch and send none of them any more."""
        self._producer._message_accumulator.fail_all(error)  # first: what it was handed
        batches = [*self.waiting.values(), *self._in_flight]
        self.waiting.clear()
        tasks, self._tasks = self._tasks, {}
        for task in tasks.values():
            task.cancel()
        for batch in batches:
            batch.end(error)

    async def flush(self) -> None:
        """Wait until every batch has ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))


def _retrieve_drain_errors(accumulator: Any) -> None:
    """Have aiokafka's ``fail_all()`` retrieve the errors that it sets for callers that wait for room.

    aiokafka 0.14 sets one for each batch that was not taken by the sender, and no caller waits: asyncio would log
    "Future exception was never retrieved". Test: test_sender.py.
    """
    fail_all: Callable[[BaseException], None] = accumulator.fail_all

    def retrieving(error: BaseException) -> None:
        queues: Mapping[object, Iterable[object]] = getattr(accumulator, "_batches", {})
        waiters: list[asyncio.Future[None] | None] = [
            getattr(batch, "_drain_waiter", None) for queue in queues.values() for batch in queue
        ]
        fail_all(error)
        for waiter in waiters:
            if waiter is not None and waiter.done() and not waiter.cancelled():
                waiter.exception()

    accumulator.fail_all = retrieving
