"""Positions in a queue's log, and reading its history."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgbus.adapter import HistoryReader
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus_memory.server import Entry, Queue

__all__ = ["MemoryHistoryReader", "resolve_position"]


def resolve_position(queue: Queue, address: Address, position: Position) -> int:
    """Return the index of ``position``, or of the oldest message where it is not kept. Raises ConfigurationError."""
    if position in {"oldest", "newest"}:
        return queue.first if position == "oldest" else queue.end
    if isinstance(position, datetime):
        moment = position.timestamp() * 1000
        places = range(queue.first, queue.end)
        return next((place for place in places if queue.at(place).outgoing.time >= moment), queue.end)
    if not position.isdecimal():
        raise ConfigurationError(
            f"queue {address}: {position!r} is not a position in it: give oldest, newest or a number"
        )
    return min(max(int(position), queue.first), queue.end)


class MemoryHistoryReader(HistoryReader):
    """Reads a log between two indexes, the second exclusive."""

    def __init__(self, queue: Queue, address: Address, group: str, begin: int, end: int) -> None:
        self._queue = queue
        self._address = address
        self._group = group
        self._next = begin
        self._end = end

    async def read(self, limit: int) -> Sequence[Delivery]:
        """Implement :meth:`HistoryReader.read`."""
        begin = max(self._next, self._queue.first)
        self._next = max(begin, min(begin + limit, self._end))
        return [self._delivery(self._queue.at(place)) for place in range(begin, self._next)]

    async def close(self) -> None:
        """Implement :meth:`HistoryReader.close`: there is nothing to release."""

    def _delivery(self, entry: Entry) -> Delivery:
        one = entry.outgoing
        message = build_message(
            self._address,
            self._group,
            one.body,
            one.headers,
            id=one.id,
            time=one.time,
            key=one.key,
            origin=str(entry.place),
        )
        return Delivery(message, self._address, self, entry, entry.place)
