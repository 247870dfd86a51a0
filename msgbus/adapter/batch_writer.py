"""Batch writer: one task that writes the messages of many concurrent ``publish()`` calls.

Messages that arrive during a write go out together with the next one, in the order of the calls. A single call does not
wait for company. A call that is late or cancelled does not disturb the calls that share its write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from msgbus.adapter.publish_calls import PendingMessage
from msgbus.adapter.timeouts import cancel_and_wait
from msgbus.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["BatchWriter"]

ItemT = TypeVar("ItemT", bound=PendingMessage)


class BatchWriter(Generic[ItemT]):
    """Queue of pending messages, and the one task that writes them batch by batch."""

    def __init__(
        self,
        *,
        name: str,
        write: Callable[[list[ItemT]], Awaitable[None]],
        failed: Callable[[list[ItemT], Exception], None],
        messages: int,
        heaviest: int,
    ) -> None:
        """Create a writer; its task starts with the first ``add()``.

        Args:
            name: Names the task, and the connection in errors.
            write: Writes one batch; called for one batch at a time.
            failed: Completes the messages of a batch that ``write`` did not: called with what ``write`` raised, and at
                the end of the writer with BrokerUnavailable.
            messages: Messages in one batch, at most.
            heaviest: Bytes of the bodies of one batch, at most; a single heavier message is a batch of its own.
        """
        self._name = name
        self._write = write
        self._failed = failed
        self._messages = messages
        self._heaviest = heaviest
        self._waiting: deque[ItemT] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, items: Sequence[ItemT]) -> None:
        """Queue messages to be written, behind those that wait already.

        Args:
            items: The messages, in order.
        """
        self._waiting.extend(items)
        if items and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stop writing; pending messages fail with BrokerUnavailable."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            await cancel_and_wait(task)
        waiting, self._waiting = list(self._waiting), deque()
        self._failed(waiting, self._closed())

    async def _run(self) -> None:
        while batch := self._batch():
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - every message needs a result, or its call would wait for its deadline
                self._failed(batch, error)
            except asyncio.CancelledError:
                self._failed(batch, self._closed())
                raise

    def _closed(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"{self._name}: the connection was closed")

    def _batch(self) -> list[ItemT]:
        batch: list[ItemT] = []
        left = self._heaviest
        waiting = self._waiting
        while waiting and len(batch) < self._messages:
            left -= len(waiting[0].message.body)
            if batch and left < 0:
                break
            item = waiting.popleft()
            if not item.call.over:
                batch.append(item)
        return batch
