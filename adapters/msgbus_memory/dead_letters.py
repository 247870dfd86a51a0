"""Dead letters: a log, read in place, and a lock that one object has at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.adapter import DeadLetterStore
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.errors import DeadLetterLockLost, DeadLettersLocked

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_memory.server import Entry, Server

__all__ = ["MemoryDeadLetterStore"]


class MemoryDeadLetterStore(DeadLetterStore):
    """Dead letters of one group and queue."""

    def __init__(self, server: Server, address: Address) -> None:
        self._server = server
        self._address = address

    async def count(self) -> tuple[int, bool]:
        """Implement :meth:`DeadLetterStore.count`."""
        return len(self._server.find(self._address).dead_letters()), True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.look`; cursors are positions in the log."""
        entries = self._server.find(self._address).dead_letters()
        page = [entry for entry in entries if not isinstance(after, int) or entry.place > after][: limit + 1]
        return [self._delivery(entry) for entry in page[:limit]], page[limit - 1].place if len(page) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.take`."""
        if not self._server.find(self._address).acquire_lock(self):
            raise DeadLettersLocked(f"queue {self._address}: another task is taking from it; try again later")
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Implement :meth:`DeadLetterStore.remove`."""
        queue = self._server.find(self._address)
        if not queue.is_locked_by(self):
            raise DeadLetterLockLost(f"queue {self._address}: its lock was lost; take the dead letters again")
        queue.remove({letter.receipt for letter in letters})

    async def close(self) -> None:
        """Implement :meth:`DeadLetterStore.close`."""
        queue = self._server.queues.get(self._address)
        if queue is not None:
            queue.release_lock(self)

    def _delivery(self, entry: Entry) -> Delivery:
        one = entry.outgoing
        message = build_message(
            self._address,
            self._address.group,
            one.body,
            one.headers,
            id=one.id,
            time=one.time,
            key=one.key,
            origin=str(entry.place),
        )
        return Delivery(message, self._address, self, entry)
