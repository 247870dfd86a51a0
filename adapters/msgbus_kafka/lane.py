"""A partition's batches, filled by one hand.

aiokafka's send() costs a coroutine, a future and a look at the metadata for each message, and with thousands of callers
waiting in it the square of their number. Here a message is added to the open batch, or waits without a task.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from msgbus.calls import Item
from msgbus.message import Outgoing
from msgbus_kafka.wire import key_and_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import TopicPartition

    from msgbus.calls import Call
    from msgbus.names import Address
    from msgbus_kafka.batches import Batch, Batches, Ended

__all__ = ["Lane", "Record", "Tombstone"]


class Record(Item):
    """A message as it lies in a topic."""

    __slots__ = ("headers", "key", "sent", "value")

    def __init__(self, call: Call, place: int, message: Outgoing) -> None:
        self.call = call
        self.place = place
        self.message = message
        self.settled = False
        self.key, self.headers = key_and_headers(message)
        self.value: bytes | None = message.body
        self.sent = False
        """It is in a batch: nobody can take it back."""


class Tombstone(Record):
    """Removes what lies in a compacted topic under ``key``."""

    __slots__ = ()

    def __init__(self, call: Call, place: int, address: Address, key: bytes) -> None:
        super().__init__(call, place, Outgoing(address, f"of {key!r}", 0, b"", None, {}))
        self.key, self.headers, self.value = key, [], None


class Lane:
    """One partition of a producer's: the batch that is being filled, and what waits while it is full."""

    def __init__(
        self,
        batches: Batches,
        partition: TopicPartition,
        ended: Ended,
        left: Callable[[Lane], None],
    ) -> None:
        """``left`` is told when a batch no longer stands before what waits."""
        self._batches = batches
        self._partition = partition
        self._ended = ended
        self._left = partial(left, self)
        self._batch: Batch | None = None
        self.waiting: deque[Record] = deque()

    def put(self, item: Record) -> None:
        """Into the batch, or behind what waits for the next one."""
        if self.waiting or not self._add(item):
            self.waiting.append(item)

    def go_on(self) -> None:
        """There is room again."""
        while self.waiting and (self.waiting[0].call.over or self._add(self.waiting[0])):
            self.waiting.popleft()

    def _add(self, item: Record) -> bool:
        if self._batch is not None and self._batch.add(item):
            return True
        self._batch = self._batches.last(self._partition, self._ended)
        if self._batch.add(item):
            return True
        self._batch.left = self._left
        return False
