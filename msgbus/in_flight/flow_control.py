"""Flow control: how many deliveries of a queue a member holds, at most. Pure.

A fixed large limit starves other members: 150 of 300 messages waited in one member while another was idle. A fixed
small limit starves fast callbacks. So the limit starts at twice the concurrency and follows the callback's speed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FlowController"]

MAX_LIMIT: Final = 1000
"""Deliveries in flight of one queue, at most."""
WORK_AHEAD_SECONDS: Final = 0.2
"""Seconds of work that a member holds, at most, by the callback's average duration."""
_MIN_SAMPLES: Final = 20
"""Callbacks after which the average moves."""
_AVERAGE_WEIGHT: Final = 1 / _MIN_SAMPLES
"""Weight of the newest callback in the moving average: about the last twenty count."""
_GROWTH_FACTOR: Final = 8
"""How many times the limit grows in one step, at most."""
_MIN_TURN_SECONDS: Final = 0.02
"""Seconds below which a member that has worked off its whole limit needs a larger one."""


class FlowController:
    """Limit of in-flight deliveries of one queue.

    The worker pool and the retry intake count ``in_flight`` up themselves: a call for each message would cost more.
    """

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
        """Deliveries that may still be received."""
        return max(self.limit - self.in_flight, 0)

    def demand(self) -> int:
        """Return the capacity for the next ``receive()``, and remember whether it is below half of the limit."""
        room = self.capacity
        self.starved = 2 * room < self.limit
        return room

    def release(self, count: int) -> bool:
        """Count ``count`` deliveries as ended.

        Returns:
            True, once, when a queue whose capacity was small has half of its limit free again.
        """
        self.in_flight -= count
        if not self.starved or 2 * self.capacity < self.limit:
            return False
        self.starved = False
        return True

    def record_duration(self, seconds: float) -> None:
        """Add the duration of one callback, in seconds, to the average."""
        self._since += 1
        weight = _AVERAGE_WEIGHT
        if self._calls < _MIN_SAMPLES:
            self._calls += 1
            weight = 1 / self._calls
        self._seconds += (seconds - self._seconds) * weight

    def grow(self) -> bool:
        """Double the limit: all in-flight deliveries wait for their keys, so other keys need more capacity.

        The limit does not shrink below this again, since it would have to grow again at once.

        Returns:
            Whether the limit changed.
        """
        before = self.limit
        self.limit = self._floor = max(before, min(2 * before, MAX_LIMIT))
        return self.limit != before

    def adapt(self, now: float) -> bool:
        """Move the limit one step towards the limit that the callback's speed needs.

        The limit grows when there is no capacity left. It also grows when as many deliveries as the limit were finished
        within 20 ms: a server that pushes (RabbitMQ) waits for acknowledgements before the limit is reached.

        Args:
            now: The event loop's time, in seconds.

        Returns:
            Whether the limit changed.
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
