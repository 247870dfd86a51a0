"""One writer for many calls of publish(): what is called while it writes goes out together, in the order of the calls.

A lone call does not wait for company, and neither a late nor a cancelled one disturbs those that share its write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from msgbus.adapter.publish_calls import PendingMessage
from msgbus.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["BatchWriter"]

ItemT = TypeVar("ItemT", bound=PendingMessage)


class BatchWriter(Generic[ItemT]):
    """The items that wait, and the one task that writes them, batch after batch."""

    def __init__(
        self,
        *,
        name: str,
        write: Callable[[list[ItemT]], Awaitable[None]],
        failed: Callable[[list[ItemT], Exception], None],
        messages: int,
        heaviest: int,
    ) -> None:
        """``write`` has a batch at a time: up to ``messages``, of ``heaviest`` bytes together or one that is heavier.

        What ``write`` raises is told to ``failed``, which settles what is not settled; so is the end of the writer.
        """
        self._name = name
        self._write = write
        self._failed = failed
        self._messages = messages
        self._heaviest = heaviest
        self._waiting: deque[ItemT] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, items: Sequence[ItemT]) -> None:
        """Write ``items`` behind what waits already."""
        self._waiting.extend(items)
        if items and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stop writing; what waits fails as BrokerUnavailable."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
        waiting, self._waiting = list(self._waiting), deque()
        self._failed(waiting, self._closed())

    async def _run(self) -> None:
        while batch := self._batch():
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - one verdict for everybody, or they would wait for their deadline
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
