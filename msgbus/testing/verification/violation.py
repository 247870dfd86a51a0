"""What can be wrong with a recording. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus.testing.verification.events import Event

__all__ = ["Violation", "ViolationKind", "violation_of"]


class ViolationKind(StrEnum):
    """What can be wrong."""

    LOST = "LOST"
    """Confirmed, and neither handled nor dead-lettered by a group that existed; or acknowledged before it was."""
    PHANTOM = "PHANTOM"
    """Handled, and never published, or its publish failed for certain."""
    CORRUPT = "CORRUPT"
    """Handled with another body, key or headers than it was published with."""
    ORDER = "ORDER"
    """Of one key, a later message was handled first."""
    OVERLAP = "OVERLAP"
    """Two calls at once of one key in a member, or of one message in a group."""
    DUPLICATE = "DUPLICATE"
    """Handled more often than its publishes and the faults that met it in flight explain."""
    ATTEMPT = "ATTEMPT"
    """The count of attempts jumped, stood still or fell back."""
    REGRESS = "REGRESS"
    """Acknowledged for good, and handed over again."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong."""

    verdict: ViolationKind
    what: str
    excerpt: tuple[Event, ...]
    """In the order of time."""


def violation_of(verdict: ViolationKind, what: str, *events: Event | None) -> Violation:
    """A finding; events that are not there are left out."""
    there = {id(event): event for event in events if event is not None}
    return Violation(verdict, what, tuple(sorted(there.values(), key=lambda event: event.at)))
