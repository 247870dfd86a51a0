"""Watermark: the contiguous position of a log whose messages are finished out of order. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Watermark"]


class Watermark:
    """Tracks delivered positions of a log, and the position up to which all of them are finished.

    Gaps between positions (compaction, transaction markers) count as finished: only delivered positions are waited for.
    """

    __slots__ = ("_done", "_next", "_open")

    def __init__(self, start: int) -> None:
        """Create a watermark.

        Args:
            start: The first position that is not finished.
        """
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._next = start

    @property
    def position(self) -> int:
        """The first position that is not known to be finished: the one to commit."""
        return self._next

    @property
    def lowest(self) -> int | None:
        """The lowest delivered position that is not finished; None if all are."""
        return self._open[0] if self._open else None

    def started(self, position: int) -> None:
        """Add a delivered position.

        Args:
            position: The position; it must be above all that were added before.
        """
        self._open.append(position)

    def finished(self, position: int) -> bool:
        """Mark a position as finished.

        Args:
            position: The position. It is ignored if it was not delivered or is finished already.

        Returns:
            Whether the watermark moved.
        """
        if not self._open or position < self._open[0]:
            return False
        if position != self._open[0]:
            self._done.add(position)
            return False
        self._open.popleft()
        self._next = position + 1
        while self._done and self._open and self._open[0] in self._done:
            self._done.discard(self._open[0])
            self._next = self._open.popleft() + 1
        return True

    def __len__(self) -> int:
        """Return the number of delivered positions that are not below the watermark."""
        return len(self._open)
