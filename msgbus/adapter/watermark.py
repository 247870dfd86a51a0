"""How far is everything done? The contiguous position of a log whose messages are finished out of order. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Watermark"]


class Watermark:
    """Tracks the positions that were handed out, in rising order, and gives the one up to which all are finished.

    Gaps between positions (compaction, transaction markers) count as finished: only what was handed out is waited for.
    """

    __slots__ = ("_done", "_next", "_open")

    def __init__(self, start: int) -> None:
        """``start`` is the first position not yet finished."""
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._next = start

    @property
    def position(self) -> int:
        """The first position not known to be finished: what a log broker commits."""
        return self._next

    @property
    def lowest(self) -> int | None:
        """The lowest position handed out and not finished; None when all are."""
        return self._open[0] if self._open else None

    def started(self, position: int) -> None:
        """``position`` was handed out; it must be above all before it."""
        self._open.append(position)

    def finished(self, position: int) -> bool:
        """``position`` is done; True if the watermark moved. One that was never handed out, or twice, is ignored."""
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
        """Positions handed out and not yet below the watermark."""
        return len(self._open)
