"""When every message fails, not the messages are to blame: the breaker of a subscription. Pure.

It opens after so many failures in a row. While it is open nothing is received, and one message is tried now and then,
a different one each time; the first success closes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus.retry import Backoff

__all__ = ["Breaker"]


class Breaker:
    """Counts; others act."""

    __slots__ = ("_after", "_in_a_row", "_probes", "_tried", "open")

    def __init__(self, after: int | None, probes: Backoff) -> None:
        """Opens after ``after`` failures in a row (None: never); ``probes`` says how long to wait before each try."""
        self._after = after
        self._probes = probes
        self._in_a_row = 0
        self._tried = 0
        self.open = False

    def failed(self) -> bool:
        """A callback raised; True if this opens it."""
        self._in_a_row += 1
        if self.open or self._after is None or self._in_a_row < self._after:
            return False
        self.open = True
        self._tried = 0
        return True

    def succeeded(self) -> bool:
        """A callback returned; True if this closes it."""
        self._in_a_row = 0
        closed, self.open = self.open, False
        return closed

    def next_probe(self, chance: float) -> float:
        """Seconds until the next try; ``chance`` is uniform in [0, 1)."""
        self._tried += 1
        return self._probes.wait(self._tried, chance)
