"""Dead letters: one log, looked at in place; one taker at a time."""

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
    """The dead-letter queue ``address`` of one server."""

    def __init__(self, server: Server, address: Address) -> None:
        self._server = server
        self._address = address

    async def count(self) -> tuple[int, bool]:
        """See DeadLetterStore."""
        return len(self._server.find(self._address).dead_letters()), True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore; cursors are places in the log."""
        entries = self._server.find(self._address).dead_letters()
        page = [entry for entry in entries if not isinstance(after, int) or entry.place > after][: limit + 1]
        return [self._letter(entry) for entry in page[:limit]], page[limit - 1].place if len(page) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore."""
        queue = self._server.find(self._address)
        if queue.lock_holder not in {None, self}:
            raise DeadLettersLocked(f"queue {self._address}: somebody else is taking from it; try again later")
        queue.lock_holder = self
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See DeadLetterStore."""
        queue = self._server.find(self._address)
        if queue.lock_holder is not self:
            raise DeadLetterLockLost(f"queue {self._address}: its letters are no longer in hand; take them again")
        queue.remove({letter.receipt for letter in letters})

    async def close(self) -> None:
        """See DeadLetterStore."""
        queue = self._server.queues.get(self._address)
        if queue is not None and queue.lock_holder is self:
            queue.lock_holder = None

    def _letter(self, entry: Entry) -> Delivery:
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
