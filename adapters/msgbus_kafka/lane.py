"""A partition's batches, filled by one hand.

aiokafka's send() costs a coroutine, a future and a look at the metadata for each message, and with thousands of callers
waiting in it the square of their number. Here a message is added to the open batch, or waits without a task.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from msgbus.calls import Item
from msgbus_kafka.wire import key_and_headers

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Sequence

    from aiokafka.structs import TopicPartition

    from msgbus.calls import Call
    from msgbus.message import Outgoing

__all__ = ["Lane", "Record"]


class Record(Item):
    """A message as it lies in a topic."""

    __slots__ = ("headers", "key", "sent")

    def __init__(self, call: Call, place: int, message: Outgoing) -> None:
        self.call = call
        self.place = place
        self.message = message
        self.settled = False
        self.key, self.headers = key_and_headers(message)
        self.sent = False
        """It is in a batch: nobody can take it back."""


class Lane:
    """One partition of a producer's: the batch that is being filled, and what waits while it is full."""

    def __init__(
        self,
        producer: Any,
        partition: TopicPartition,
        ended: Callable[[Sequence[Record], Future[Any]], None],
        drained: Callable[[Lane], None],
    ) -> None:
        self._accumulator = producer._message_accumulator  # noqa: SLF001
        self._partition = partition
        self._ended = ended
        self._drained = drained
        self._batch: Any = None
        self._items: list[Record] = []
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
        queued = self._accumulator._batches.get(self._partition)  # noqa: SLF001
        batch = queued[-1] if queued else self._begin()
        if batch is self._batch and batch._builder.append(  # noqa: SLF001
            timestamp=None, key=item.key, value=item.message.body, headers=item.headers
        ):
            self._items.append(item)
            item.sent = True
            return True
        batch._drain_waiter.add_done_callback(self._left)  # noqa: SLF001
        return False

    def _begin(self) -> Any:
        self._batch = self._accumulator._append_batch(self._accumulator.create_builder(), self._partition)  # noqa: SLF001
        self._items = []
        self._batch.future.add_done_callback(partial(self._ended, self._items))
        return self._batch

    def _left(self, drained: Future[Any]) -> None:
        drained.exception()  # looked at: the batch's own says the same
        self._drained(self)
