"""Check of the attempt count of each message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.testing.verification.events import Kind
from msgbus.testing.verification.violation import Violation, ViolationKind, violation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.testing.verification.events import Event
    from msgbus.testing.verification.timeline import MessageLife, Timeline

__all__ = ["miscounted"]


def miscounted(timeline: Timeline) -> Iterator[Violation]:
    """Yield the first wrong attempt count of each message."""
    for life in timeline.lives.values():
        if life.calls:
            yield from _Counting(timeline, life).wrong()


class _Counting:
    """Follows the attempts of one message in one group."""

    def __init__(self, timeline: Timeline, life: MessageLife) -> None:
        self._timeline = timeline
        self._life = life
        self._sure = timeline.bound(life) <= 1
        """Only one copy of the message can exist."""
        self._failures = 0
        self._low = 1
        """Lowest number that the next attempt may have."""
        self._handed = 1
        """Value of ``_low`` when the message was handed over."""
        self._parked = 1
        self._last: Event | None = None
        self._told = any(event.kind is Kind.FORWARDING for event in life.events)
        """A copy may be handled elsewhere before its publish is confirmed: the time of sending counts."""

    def wrong(self) -> Iterator[Violation]:
        """Yield the first violation."""
        for event in self._life.events:
            if (what := self._hear(event)) is not None:
                yield violation_of(ViolationKind.ATTEMPT, f"message {self._life.name.id}: {what}", self._last, event)
                return
            if event.kind in {Kind.CALLED, Kind.RAISED, Kind.CANCELLED, Kind.FORWARDING, Kind.RETRIED, Kind.REDRIVEN}:
                self._last = event

    def _hear(self, event: Event) -> str | None:
        if event.kind is Kind.RAISED:
            self._failures += 1
            # A pause revokes the attempts counted since the message was handed over.
            self._low = self._handed if event.outage else event.attempt + 1
        elif event.kind is Kind.REDRIVEN:
            self._failures = self._failures if not self._sure else 0
            self._low = self._handed = self._parked = 1
        elif event.kind is Kind.HANDED and event.part != "dlq":
            self._low = self._handed = self._parked if event.part else 1
        elif event.kind is (Kind.FORWARDING if self._told else Kind.RETRIED) and event.part != "dlq":
            self._parked = event.attempt
            return self._check(event, event.attempt)
        elif event.kind is Kind.CALLED:
            return self._check(event, event.attempt)
        elif event.kind is Kind.DEAD_LETTERED:
            return self._check(event, event.attempt + 1)
        return None

    def _check(self, event: Event, attempt: int) -> str | None:
        if attempt > self._failures + 1:
            return f"attempt {attempt} after {self._failures} failures"
        if self._sure and attempt < self._low and not self._excused(event):
            return f"attempt {attempt} where {self._low} was due"
        return None

    def _excused(self, event: Event) -> bool:
        """Return whether a fault explains the attempt: a failure during an outage costs none."""
        since = self._last.at if self._last is not None else event.at
        return bool(self._timeline.hits(event.member, since, event.at))
