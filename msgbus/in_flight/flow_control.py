"""How many deliveries of a queue a member holds at most: enough to be busy, little enough to leave others theirs. Pure.

A fixed large limit starves other members (150 of 300 messages sat with one while its neighbour was idle); a fixed small
one starves fast callbacks. So it starts at twice the concurrency and follows the callback's own speed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Flow"]

LIMIT_MAX: Final = 1000
AHEAD: Final = 0.2
"""Seconds of work that a member holds at most, by the callback's average."""
_FEW: Final = 20
_WEIGHT: Final = 1 / _FEW
"""Of the newest callback in the moving average, once there were twenty: about the last twenty count."""
_STEP: Final = 8
"""The limit grows so many times at once."""
_TURN: Final = 0.02
"""Seconds in which a member works off as much as it may hold and cannot be said to have had enough."""


class Flow:
    """The limit of one subscription, and whether its queue waits for room."""

    __slots__ = ("_calls", "_floor", "_from", "_seconds", "_since", "concurrency", "held", "limit", "starved")

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self._floor = min(2 * concurrency, LIMIT_MAX)
        self._seconds = AHEAD
        self._calls = 0
        self._since = 0
        self._from = 0.0
        self.limit = self._floor
        self.held = 0
        self.starved = False

    @property
    def room(self) -> int:
        """Deliveries that may still be taken."""
        return max(self.limit - self.held, 0)

    def asked(self) -> int:
        """The room at the start of a receive(), remembering whether it was little."""
        room = self.room
        self.starved = 2 * room < self.limit
        return room

    def released(self, count: int) -> bool:
        """``count`` are no longer held; True, once, when a queue that had little room has half of it again."""
        self.held -= count
        if not self.starved or 2 * self.room < self.limit:
            return False
        self.starved = False
        return True

    def worked(self, seconds: float) -> None:
        """One callback took ``seconds``."""
        self._since += 1
        weight = _WEIGHT
        if self._calls < _FEW:
            self._calls += 1
            weight = 1 / self._calls
        self._seconds += (seconds - self._seconds) * weight

    def widen(self) -> bool:
        """The hands are full of what may not run (behind a failing message, or all of one key): take more.

        True if the limit changed. It is not narrowed again: the next change would come at once.
        """
        before = self.limit
        self.limit = self._floor = max(before, min(2 * before, LIMIT_MAX))
        return self.limit != before

    def adapt(self, now: float) -> bool:
        """Move the limit one step towards what the callback's speed asks for; True if it changed.

        It is raised when the hands are full; or are as good as full, since a server that pushes (RabbitMQ) waits for
        acknowledgements long before: as much as they may hold was worked off in no time. ``now`` is in seconds.
        """
        before = self.limit
        wanted = AHEAD * self.concurrency / max(self._seconds, 1e-6)
        if wanted >= 2 * before and (not self.room or self._turned(now)):
            self.limit = min(int(wanted), _STEP * before, LIMIT_MAX)
        elif wanted < before / 2:
            self.limit = max(before // 2, self._floor)
        return self.limit != before

    def _turned(self, now: float) -> bool:
        if self._since < self.limit:
            return False
        quick = now - self._from < _TURN
        self._since, self._from = 0, now
        return quick
