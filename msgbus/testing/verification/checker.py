"""Checker of recordings: finds every violation of the promise, with the shortest excerpt that shows it. Pure.

At the end of a recording every published message should be handled or dead-lettered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgbus.testing.verification.attempts import miscounted
from msgbus.testing.verification.messages import corrupt, duplicates, fenced, lost, phantoms, regressed, settled_early
from msgbus.testing.verification.ordering import disordered, overlaps
from msgbus.testing.verification.timeline_builder import build_timeline
from msgbus.testing.verification.violation import Violation, ViolationKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus.testing.verification.events import Event

__all__ = ["check"]

_LOOKS: Final = (
    lost,
    settled_early,
    phantoms,
    corrupt,
    disordered,
    overlaps,
    duplicates,
    fenced,
    miscounted,
    regressed,
)


def check(events: Iterable[Event]) -> list[Violation]:
    """Return all violations in a recording, by kind and time.

    Args:
        events: The events of all processes.
    """
    timeline = build_timeline(events)
    findings = [one for look in _LOOKS for one in look(timeline)]
    order = list(ViolationKind)
    return sorted(findings, key=lambda one: (order.index(one.verdict), one.excerpt[-1].at))
