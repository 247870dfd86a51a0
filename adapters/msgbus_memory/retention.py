"""Retention by size: the oldest handled messages of a server go first, whichever queue they are in. Pure."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus.adapter.envelope import Outgoing

__all__ = ["RETENTION_BYTES", "Retained", "RetentionBudget", "evict", "memory_bytes"]

RETENTION_BYTES: Final = 64 * 1024 * 1024
"""Memory of the handled messages that a server keeps, by default."""

_MESSAGE_BYTES: Final = 512
"""Memory of a message without its body, key and further headers. Measured (Python 3.11): 380 without a key."""
_KEY_BYTES: Final = 80
_HEADER_BYTES: Final = 160
_STEPS: Final = 8
"""A server looks for what to remove whenever groups have handled this fraction of its budget."""
_STEP_MIN_BYTES: Final = 64 * 1024


def memory_bytes(message: Outgoing) -> int:
    """Estimate the memory that a message takes in a log."""
    size = _MESSAGE_BYTES + len(message.body)
    if message.key is not None:
        size += _KEY_BYTES + len(message.key)
    if len(message.headers) > 1:  # all have one, the content type
        size += sum(_HEADER_BYTES + len(name) + len(text) for name, text in message.headers.items())
    return size


class RetentionBudget:
    """Bytes of handled messages that a server may keep, and bytes that groups have handled since the last look."""

    __slots__ = ("_step", "limit", "unchecked")

    def __init__(self, limit: int = RETENTION_BYTES) -> None:
        self.limit = limit
        self.unchecked = 0
        self._step = max(limit // _STEPS, _STEP_MIN_BYTES)

    @property
    def is_due(self) -> bool:
        """Whether groups have handled so much that it may be over the limit."""
        return self.unchecked >= self._step

    @property
    def target(self) -> int:
        """Bytes to go down to: what is handled until the next look then fits into the limit."""
        return max(self.limit - self._step, 0)


class Retained(Protocol):
    """The log of one queue, as far as retention needs it. Places are positions in the log."""

    @property
    def first(self) -> int:
        """The oldest place that is kept."""
        ...

    @property
    def delivered_until(self) -> int:
        """The place below which every group was handed everything."""
        ...

    @property
    def handled_bytes(self) -> int:
        """Memory of the messages in the log that every group has handled."""
        ...

    def appended_at(self, place: int) -> float:
        """Return when the message at ``place`` was appended."""
        ...

    def place_after(self, place: int, size: int) -> int:
        """Return the place behind at least ``size`` bytes of messages from ``place`` on, at most the end."""
        ...

    def bytes_between(self, begin: int, end: int) -> int:
        """Return the memory of the messages from ``begin`` up to ``end``, exclusive."""
        ...

    def drop_before(self, place: int) -> None:
        """Remove what lies before ``place`` from the log. What a group still has in flight stays with the group."""
        ...


def evict(logs: Iterable[Retained], budget: RetentionBudget) -> None:
    """Remove the oldest handled messages of all logs until the budget's target is reached."""
    budget.unchecked = 0
    sizes = [(log, size) for log in logs if (size := log.handled_bytes)]
    excess = sum(size for _, size in sizes) - budget.target
    if excess <= 0:
        return
    found = [log for log, _ in sizes]
    portion = max(excess // 64, 1)  # of one log at a time, so that age is compared again and again
    turns = [(log.appended_at(log.first), number, log.first) for number, log in enumerate(found)]
    heapq.heapify(turns)
    cuts: dict[int, int] = {}
    while excess > 0 and turns:
        _, number, place = turns[0]
        log = found[number]
        cuts[number] = until = min(log.place_after(place, portion), log.delivered_until)
        excess -= log.bytes_between(place, until)
        if until < log.delivered_until:
            heapq.heapreplace(turns, (log.appended_at(until), number, until))
        else:
            heapq.heappop(turns)
    for number, until in cuts.items():
        found[number].drop_before(until)
