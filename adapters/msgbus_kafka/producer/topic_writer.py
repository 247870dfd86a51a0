"""Topic writer: puts the messages of one topic into its partitions' batches, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, MessageTooLarge, translate_errors
from msgbus_kafka.admin.topics import queue_not_found
from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of
from msgbus_kafka.aiokafka_internals.producer_state import metadata_version
from msgbus_kafka.codec import batch_size_bytes
from msgbus_kafka.errors import ACCESS_ERRORS, ERROR_TABLE, describe
from msgbus_kafka.producer.partition_writer import PartitionWriter
from msgbus_kafka.producer.producer_slot import BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.aiokafka_internals.producer_path import Producer
    from msgbus_kafka.producer.producer_slot import ProducerSlot
    from msgbus_kafka.producer.record import Record

__all__ = ["TopicWriter"]


class _Target(NamedTuple):
    """The producer that messages go to, and its slot."""

    slot: ProducerSlot
    producer: Producer


class TopicWriter:
    """The messages of one topic that wait for the topic, for room in a batch, or are in a batch."""

    def __init__(self, name: str, topics: Topics, slot_for: Callable[[int], ProducerSlot]) -> None:
        self._name = name
        self._topics = topics
        self._slot_for = slot_for
        self._target: _Target | None = None
        self._limit = 0
        self._metadata: object = None
        self._partitions: Sequence[int] = ()
        self._available: Sequence[int] = ()
        self._partition_writers: dict[int, PartitionWriter] = {}
        self._waiting: deque[Record] = deque()
        self._opening: asyncio.Task[None] | None = None

    def put(self, items: Iterable[Record]) -> None:
        """Send ``items`` after all that were put before.

        Does not wait: items that cannot be sent at once are queued in order.
        """
        target = None if self._waiting else self._ready()
        if target is not None:
            for item in items:
                self._send(target, item)
        else:
            self._waiting.extend(items)
            self._open()

    def give_up(self) -> None:
        """Fail everything that waits for the topic or its leaders: the topic does not exist any more."""
        self._topics.forget(self._name)
        self._refuse_waiting(queue_not_found(self._name))
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._target is not None:
            self._target.slot.fail_topic(self._name)

    async def close(self, wait: float) -> None:
        """Fail the messages that are in no batch yet."""
        self._refuse_waiting(BrokerUnavailable(f"queue {self._name}: the connection was closed"))
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait({opening}, timeout=wait)

    # Becoming ready: one task for all waiting messages.

    def _ready(self) -> _Target | None:
        """Return where messages go; None while none can go into a batch."""
        target = self._target
        if (
            target is None
            or not target.slot.is_current(target.producer)
            or self._topics.cached_limit(self._name) != self._limit
        ):
            return None
        metadata = metadata_version(target.producer)
        if metadata is not self._metadata:
            cluster = target.producer.client.cluster
            self._metadata = metadata
            self._partitions = sorted(cluster.partitions_for_topic(self._name) or ())
            self._available = sorted(cluster.available_partitions_for_topic(self._name) or ())
        return target if self._partitions else None

    def _open(self) -> None:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._write_waiting())

    async def _write_waiting(self) -> None:
        while self._waiting:
            try:
                async with asyncio.timeout_at(max(item.call.end for item in self._waiting)):
                    await self._become_ready()
            except TimeoutError:
                self._drop_late()
            except BrokerError as error:
                self._refuse_waiting(error)
            except Exception as error:  # noqa: BLE001 - each caller needs a result before its deadline
                refusal = BrokerUnavailable(f"queue {self._name}: publishing failed: {describe(error)}")
                refusal.__cause__ = error
                self._refuse_waiting(refusal)
            else:
                self._send_waiting()

    async def _become_ready(self) -> None:
        limit = await self._topics.limit(self._name)
        slot = self._slot_for(min(BATCH_BYTES, limit))
        producer = await slot.ready()
        with translate_errors(ERROR_TABLE, f"queue {self._name}"):
            try:
                partitions = await producer.partitions_for(self._name)
            except kafka.UnknownTopicOrPartitionError as error:
                raise queue_not_found(self._name) from error
        if not partitions:
            raise BrokerUnavailable(f"queue {self._name}: not published: the topic has no partitions yet; try again")
        if self._target is None or producer is not self._target.producer:
            self._waiting = self._take_back()
            self._partition_writers.clear()
            self._target, self._metadata = _Target(slot, producer), None
        self._limit = limit

    def _drop_late(self) -> None:
        """Drop messages whose deadline is over; their callers have a result by then."""
        now = asyncio.get_running_loop().time()
        self._waiting = deque(item for item in self._waiting if item.call.end > now)

    def _refuse_waiting(self, error: BrokerError) -> None:
        for item in self._take_back():
            result = copy(error)  # a copy: raising adds each caller's traceback
            result.__cause__ = error.__cause__
            item.complete(result)

    def _take_back(self) -> deque[Record]:
        """Return every message that is in no batch yet, in order within each partition."""
        back: deque[Record] = deque()
        for writer in self._partition_writers.values():
            back.extend(writer.waiting)
            writer.waiting.clear()
        back.extend(self._waiting)
        self._waiting = deque()
        return back

    # Sending: without waiting.

    def _send_waiting(self) -> None:
        target = self._ready()
        if target is not None:
            waiting, self._waiting = self._waiting, deque()
            for item in waiting:
                self._send(target, item)

    def _send(self, target: _Target, item: Record) -> None:
        if item.call.over:
            return
        needed = batch_size_bytes(item.key, item.value, item.headers)
        if needed > self._limit:
            text = (
                f"queue {self._name}: the message has {needed} bytes with key and headers, {self._limit} is the limit"
            )
            item.complete(MessageTooLarge(text))
            return
        partition = target.slot.partitioner.partition(item.key, self._partitions, self._available)
        writer = self._partition_writers.get(partition)
        if writer is None:
            ended = partial(self._on_batch_done, target)
            where = TopicPartition(self._name, partition)
            writer = PartitionWriter(accumulator_of(target.producer), where, ended, self._on_batch_left)
            self._partition_writers[partition] = writer
        writer.put(item)

    def _on_batch_left(self, writer: PartitionWriter) -> None:
        """Continue with the waiting messages of ``writer``: its full batch was taken by the sender."""
        if not writer.waiting:
            return
        if self._ready() is not None:
            writer.resume()
        else:
            self._waiting = self._take_back()
            self._open()

    def _on_batch_done(self, target: _Target, items: Sequence[Record], error: BaseException | None) -> None:
        if error is not None:
            # A refused batch has used up sequence numbers that aiokafka never gives back: every later batch of its
            # partition would be out of order.
            target.slot.replace(target.producer)
            self._topics.forget(self._name)
            for item in items:
                item.complete(_refused(self._name, error, alone=len(items) == 1))
        elif len(items) == 1:
            items[0].complete(None)
        else:
            target.slot.ack_pacer.complete(partial(_confirm, items))


def _confirm(items: Sequence[Record]) -> None:
    for item in items:
        item.complete(None)


def _refused(name: str, error: BaseException, *, alone: bool) -> BrokerError:
    text = f"queue {name}: publishing failed: {describe(error)}"
    ours: BrokerError
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        ours = queue_not_found(name)
    elif isinstance(error, ACCESS_ERRORS):
        ours = AccessRefused(text)
    elif isinstance(error, (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)):
        # The topic's limit was lowered after it was looked at. Each of several may still be small enough.
        ours = MessageTooLarge(text) if alone else BrokerUnavailable(text)
    else:
        ours = BrokerUnavailable(text, uncertain=True)
    ours.__cause__ = error
    return ours
