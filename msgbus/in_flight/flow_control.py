"""How many deliveries of a queue a member holds at most: enough to be busy, little enough to leave others theirs. Pure.

A fixed large limit starves other members (150 of 300 messages sat with one while its neighbour was idle); a fixed small
one starves fast callbacks. So it starts at twice the concurrency and follows the callback's own speed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FlowController"]

MAX_LIMIT: Final = 1000
WORK_AHEAD_SECONDS: Final = 0.2
"""Seconds of work that a member holds at most, by the callback's average."""
_MIN_SAMPLES: Final = 20
_AVERAGE_WEIGHT: Final = 1 / _MIN_SAMPLES
"""Of the newest callback in the moving average, once there were twenty: about the last twenty count."""
_GROWTH_FACTOR: Final = 8
"""The limit grows so many times at once."""
_MIN_TURN_SECONDS: Final = 0.02
"""Seconds in which a member works off as much as it may hold and cannot be said to have had enough."""


class FlowController:
    """The limit of one subscription, and whether its queue waits for room."""

    __slots__ = ("_calls", "_floor", "_from", "_seconds", "_since", "concurrency", "in_flight", "limit", "starved")

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self._floor = min(2 * concurrency, MAX_LIMIT)
        self._seconds = WORK_AHEAD_SECONDS
        self._calls = 0
        self._since = 0
        self._from = 0.0
        self.limit = self._floor
        self.in_flight = 0
        self.starved = False

    @property
    def capacity(self) -> int:
        """Deliveries that may still be taken."""
        return max(self.limit - self.in_flight, 0)

    def demand(self) -> int:
        """The room at the start of a receive(), remembering whether it was little."""
        room = self.capacity
        self.starved = 2 * room < self.limit
        return room

    def release(self, count: int) -> bool:
        """``count`` are no longer held; True, once, when a queue that had little room has half of it again."""
        self.in_flight -= count
        if not self.starved or 2 * self.capacity < self.limit:
            return False
        self.starved = False
        return True

    def record_duration(self, seconds: float) -> None:
        """One callback took ``seconds``."""
        self._since += 1
        weight = _AVERAGE_WEIGHT
        if self._calls < _MIN_SAMPLES:
            self._calls += 1
            weight = 1 / self._calls
        self._seconds += (seconds - self._seconds) * weight

    def grow(self) -> bool:
        """The hands are full of what may not run (behind a failing message, or all of one key): take more.

        True if the limit changed. It is not narrowed again: the next change would come at once.
        """
        before = self.limit
        self.limit = self._floor = max(before, min(2 * before, MAX_LIMIT))
        return self.limit != before

    def adapt(self, now: float) -> bool:
        """Move the limit one step towards what the callback's speed asks for; True if it changed.

        It is raised when the hands are full; or are as good as full, since a server that pushes (RabbitMQ) waits for
        acknowledgements long before: as much as they may hold was worked off in no time. ``now`` is in seconds.
        """
        before = self.limit
        wanted = WORK_AHEAD_SECONDS * self.concurrency / max(self._seconds, 1e-6)
        if wanted >= 2 * before and (not self.capacity or self._turned(now)):
            self.limit = min(int(wanted), _GROWTH_FACTOR * before, MAX_LIMIT)
        elif wanted < before / 2:
            self.limit = max(before // 2, self._floor)
        return self.limit != before

    def _turned(self, now: float) -> bool:
        if self._since < self.limit:
            return False
        quick = now - self._from < _MIN_TURN_SECONDS
        self._since, self._from = 0, now
        return quick
