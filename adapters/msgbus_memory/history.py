"""Positions in a queue's log, and reading its history."""

from __future__ import annotations

import logging
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from msgbus.adapter import HistoryReader
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus_memory.server import Entry, Queue

__all__ = ["MemoryHistoryReader", "resolve_position", "warn_of_removed"]

logger = logging.getLogger("msgbus.memory")


def resolve_position(queue: Queue, address: Address, position: Position, alone: Sequence[Entry] = ()) -> int:
    """Return the place of ``position``, or the oldest place behind it that is kept.

    Args:
        queue: The queue.
        address: Its address, for texts.
        position: What was asked for.
        alone: Messages that only the group still has, in order: they lie before the log.

    Raises:
        ConfigurationError: The position is none of this queue.
    """
    if position in {"oldest", "newest"}:
        return queue.end if position == "newest" else alone[0].place if alone else queue.first
    if isinstance(position, datetime):
        moment = position.timestamp() * 1000
        kept = chain(alone, map(queue.at, range(queue.first, queue.end)))
        return next((entry.place for entry in kept if entry.outgoing.time >= moment), queue.end)
    if not position.isdecimal():
        raise ConfigurationError(
            f"queue {address}: {position!r} is not a position in it: give oldest, newest or a number"
        )
    place = int(position)
    if place >= queue.first:
        return min(place, queue.end)
    return next((entry.place for entry in alone if entry.place >= place), queue.first)


def warn_of_removed(queue: Queue, address: Address, position: Position) -> None:
    """Log a warning where messages from ``position`` on are not kept any more."""
    if isinstance(position, datetime):
        if queue.first and position.timestamp() * 1000 <= queue.removed_until:
            logger.warning("queue %s: messages that were published after %s are not kept any more", address, position)
    elif position.isdecimal() and (removed := queue.first - int(position)) > 0:
        logger.warning("queue %s: %d messages from position %s on are not kept any more", address, removed, position)


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
        if gone := begin - self._next:
            logger.warning("queue %s: %d messages were removed before they were read", self._address, gone)
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
