"""Circuit breaker of one subscription: when the subscription pauses, what it probes, and when it goes on.

The breaker distinguishes a downstream service that is down from messages that are bad. It regards outage errors only
(see :mod:`msgbus.outage_errors`); every other failure is the message's own and does not change it.

It is pure: its state is the fields of :class:`CircuitBreaker`, and its methods take the time of day as an argument. So
a model can run an hour of outage in milliseconds (``tests/unit/msgbus/failure/test_circuit_breaker.py``).

::

             pause_after different messages failed, none succeeded since
    CLOSED ────────────────────────────────────────────────────────────▶ OPEN
      ▲  ▲                                                                │ │
      │  └──── a success, or a probe without an outage error ─────────────┘ │ patience is over
      └─────────────── a success ─────────── EXHAUSTED ◀────────────────────┘
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["CircuitBreaker", "Phase", "Probe", "Verdict", "parking_delay"]

FAST_PROBE_SECONDS: Final = 1.0
"""Seconds between two probes in the first minute of an outage."""
FAST_PROBING_SECONDS: Final = 60.0
"""Seconds of fast probing after the breaker has opened. A short outage ends within it, and bad messages in front of
good ones have been tried by then."""
REOPEN_WINDOW_SECONDS: Final = 60.0
"""Seconds after the breaker has closed in which opening again needs more failures each time."""
MAX_REOPEN_FACTOR: Final = 16
"""How many times ``pause_after`` failures are needed, at most."""
PARKING_STEPS_SECONDS: Final = ((60.0, 30.0), (10.0, 5.0), (0.0, 1.0))
"""Pairs (seconds for which a message has failed, seconds for which it is parked). Each parking is a retry tier, and at
most half of what the message has waited already. So after an outage all messages are handled within a minute: the
longest parking, plus the time between two probes (25 s by default)."""


class Phase(Enum):
    """State of the breaker."""

    CLOSED = "messages flow"
    OPEN = "paused; probes only"
    EXHAUSTED = "messages flow, and every failure counts until the next success"


class Verdict(Enum):
    """Decision of the breaker on one outage error."""

    COUNTED = "an attempt like any other"
    FREE = "no attempt; park the message"
    OPENED = "no attempt; park the message and pause"
    EXHAUSTED = "an attempt, and those that were free count now"


class Probe(NamedTuple):
    """Messages to try now, and when to ask for the next probe."""

    fresh: int
    """Messages that have not failed yet."""
    parked: int
    """Messages that failed during the outage. What ``fresh`` leaves may be used for these, and vice versa."""
    wait: float
    """Seconds until the next probe, at most."""
    slow: int = 0
    """Which probe after the first minute this is: the next one follows after the policy's ``probe_backoff`` for so many
    failures. 0 in the first minute: it follows after ``wait``."""


def parking_delay(failing: float) -> float:
    """Return the seconds for which to park a message that has failed for ``failing`` seconds."""
    return next((wait for since, wait in PARKING_STEPS_SECONDS if failing >= since), PARKING_STEPS_SECONDS[-1][1])


@dataclass(slots=True)
class CircuitBreaker:
    """State of one subscription's breaker. Times are seconds since 1970 by the member's clock."""

    pause_after: int | None
    """Different messages in a row whose failures open the breaker; None: it never opens."""
    patience: float
    """Seconds after the earliest first failure since a success from which on every failure counts."""
    phase: Phase = Phase.CLOSED
    failing: dict[str, None] = field(default_factory=dict[str, None])
    """Ids of the different messages that failed since the last success."""
    failing_since: float = math.inf
    """The earliest first failure of a message since the last success."""
    last_success: float = -math.inf
    opened_at: float = -math.inf
    closed_at: float = -math.inf
    reopen_factor: int = 1
    slow_probes: int = 0
    """Probes since the first minute of the outage was over."""
    probe_ended: int = 0
    """Messages of the current probe whose try has ended."""
    probe_failed: int = 0
    """Messages of the current probe that failed with an outage error."""

    @property
    def is_open(self) -> bool:
        """Whether the subscription is paused."""
        return self.phase is Phase.OPEN

    @property
    def failures_needed(self) -> float:
        """How many different messages had to fail when the breaker opened last."""
        return math.inf if self.pause_after is None else self.pause_after * self.reopen_factor

    def record_failure(  # noqa: PLR0913 - what is known of a failure, by keyword
        self,
        message_id: str,
        *,
        first_failure: float,
        failing_since: float,
        free_tries: int,
        probe: bool,
        now: float,
    ) -> Verdict:
        """Record an outage error, and decide whether it costs its message an attempt.

        Args:
            message_id: The message's id.
            first_failure: When this message failed first, possibly by another member's clock; ``now`` if never before.
            failing_since: The same by this member's clock, as far as it is known.
            free_tries: Tries of this message that were free so far, in any member.
            probe: Whether the try was part of a probe.
            now: The time of day.

        Returns:
            Whether the failure costs an attempt, and what else it means.
        """
        own = min(first_failure, now) < self.last_success  # another message has succeeded since
        if not own:
            self.failing_since = min(self.failing_since, failing_since, now)
        if self._out_of_patience(now):
            self.phase = Phase.EXHAUSTED
        if self.phase is Phase.EXHAUSTED:
            return Verdict.EXHAUSTED
        if self.phase is Phase.OPEN:
            if probe:
                self.probe_ended += 1
                self.probe_failed += 1
            return Verdict.FREE
        if own or self.pause_after is None:
            return Verdict.COUNTED
        self.failing[message_id] = None
        factor = self._next_factor(now)
        if len(self.failing) >= self.pause_after * factor:
            self._open(factor, now)
            return Verdict.OPENED
        # Another member, or this one before a restart, was paused: the message has had no fair try since.
        return Verdict.FREE if free_tries else Verdict.COUNTED

    def record_other_failure(self, *, probe: bool) -> None:
        """Record another error: it shows only that a message of the probe has ended."""
        if probe and self.phase is Phase.OPEN:
            self.probe_ended += 1

    def note_success(self, at: float) -> None:
        """Note that a callback returned at ``at``, without closing the breaker."""
        self.last_success = max(self.last_success, at)

    def record_success(self, now: float) -> bool:
        """Record that a callback returned. Return True if this closes the breaker."""
        self.last_success = now
        self.failing.clear()
        self.failing_since = math.inf
        return self._close(now)

    def plan_probe(self, capacity: int, now: float) -> Probe | None:
        """Plan the next probe of an open breaker.

        Args:
            capacity: Callbacks that may begin now.
            now: The time of day.

        Returns:
            What to try; None if the breaker is not open any more, because the last probe brought no outage error or
            because patience is over.
        """
        if self._out_of_patience(now):
            self.phase = Phase.EXHAUSTED
            return None
        if self.probe_ended and not self.probe_failed:
            self.failing.clear()
            self.failing_since = math.inf
            self._close(now)
            return None
        self.probe_ended = self.probe_failed = 0
        left = self.failing_since + self.patience - now
        if now - self.opened_at < FAST_PROBING_SECONDS:
            return Probe(capacity, 0, min(FAST_PROBE_SECONDS, left))
        self.slow_probes += 1
        return Probe(capacity - capacity // 2, capacity // 2, left, self.slow_probes)

    def _out_of_patience(self, now: float) -> bool:
        return now >= self.failing_since + self.patience

    def _next_factor(self, now: float) -> int:
        if now - self.closed_at >= REOPEN_WINDOW_SECONDS:
            return 1
        return min(2 * self.reopen_factor, MAX_REOPEN_FACTOR)

    def _open(self, factor: int, now: float) -> None:
        self.phase = Phase.OPEN
        self.opened_at = now
        self.reopen_factor = factor
        self.slow_probes = self.probe_ended = self.probe_failed = 0

    def _close(self, now: float) -> bool:
        was_open = self.phase is Phase.OPEN
        self.phase = Phase.CLOSED
        if was_open:
            self.closed_at = now
        return was_open
