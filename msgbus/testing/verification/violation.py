"""Violations of the promise. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus.testing.verification.events import Event

__all__ = ["Violation", "ViolationKind", "violation_of"]


class ViolationKind(StrEnum):
    """Kind of a violation."""

    LOST = "LOST"
    """Confirmed and neither handled nor dead-lettered by a group that existed, or acknowledged before that."""
    PHANTOM = "PHANTOM"
    """Handled although it was never published, or its publish certainly failed."""
    CORRUPT = "CORRUPT"
    """Handled with another body, key or headers than were published."""
    ORDER = "ORDER"
    """A later message of a key was handled first."""
    OVERLAP = "OVERLAP"
    """Concurrent calls of one key in a member, or of one message in a group."""
    DUPLICATE = "DUPLICATE"
    """Handled more often than its publishes and the faults that met it in flight explain."""
    ATTEMPT = "ATTEMPT"
    """The attempt count skipped a number, did not increase, or decreased."""
    REGRESS = "REGRESS"
    """Handed over again after a durable acknowledgement."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation with its excerpt of the recording."""

    verdict: ViolationKind
    what: str
    excerpt: tuple[Event, ...]
    """Events that show it, in order of time."""


def violation_of(verdict: ViolationKind, what: str, *events: Event | None) -> Violation:
    """Make a violation; events that are None are left out."""
    there = {id(event): event for event in events if event is not None}
    return Violation(verdict, what, tuple(sorted(there.values(), key=lambda event: event.at)))
