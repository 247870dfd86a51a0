"""What becomes of a message whose callback raised: a decision as data. Pure: no clock, no I/O, no chance of its own.

Today there is one answer, another try in place; retry queues and dead letters will be two more outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "Done", "Outcome", "RetryPolicy", "TryAgain"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing waits, in seconds: ``first``, twice that, and so on up to ``most``; the upper half of each is chance."""

    first: float
    most: float

    def wait(self, failures: int, chance: float) -> float:
        """Seconds to wait after ``failures`` failures in a row (from 1); ``chance`` is uniform in [0, 1)."""
        # 2.0 ** 60 is beyond any `most`; without a bound a long outage would overflow.
        full = min(self.first * 2.0 ** min(failures - 1, 60), self.most)
        return full * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True)
class Done:
    """The callback returned: acknowledge."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Call again in place, ``after`` seconds from now. Only the message's own key waits for it."""

    after: float


Outcome = Done | TryAgain


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when a failed message is tried again: in place, until it succeeds."""

    in_place: Backoff = Backoff(first=0.1, most=30.0)

    def decide(self, failures: int, chance: float) -> Outcome:
        """What to do after ``failures`` failures of one message in this member (0: its callback returned)."""
        return TryAgain(self.in_place.wait(failures, chance)) if failures else Done()
