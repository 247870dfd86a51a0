"""Report of violations as text: each with the events that show it, in seconds since the first event."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgbus.testing.verification.events import Kind
from msgbus.testing.verification.violation import ViolationKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.testing.verification.events import Event
    from msgbus.testing.verification.violation import Violation

__all__ = ["report"]

MAX_SHOWN_PER_KIND: Final = 3
"""Violations of one kind that are shown with their events; further ones are only counted."""


def report(events: Sequence[Event], findings: Sequence[Violation]) -> str:
    """Return a summary of the recording, and the violations in it, as text.

    Args:
        events: The events of all processes.
        findings: The violations that ``check()`` has found.
    """
    start = min((event.at for event in events), default=0)
    counts = Counter(finding.verdict for finding in findings)
    total = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    lines = [f"the promise was broken: {total}" if findings else "the promise was kept", _seen(events)]
    for verdict in ViolationKind:
        of_it = [finding for finding in findings if finding.verdict is verdict]
        for finding in of_it[:MAX_SHOWN_PER_KIND]:
            lines += [f"{verdict}: {finding.what}", *(f"    {_line(event, start)}" for event in finding.excerpt)]
        if len(of_it) > MAX_SHOWN_PER_KIND:
            lines.append(f"{verdict}: and {len(of_it) - MAX_SHOWN_PER_KIND} more")
    return "\n".join(lines)


def _seen(events: Sequence[Event]) -> str:
    kinds = Counter(event.kind for event in events)
    members = len({event.member for event in events})
    shown = (Kind.CONFIRMED, Kind.HANDED, Kind.RETURNED, Kind.RAISED, Kind.DEAD_LETTERED, Kind.REDRIVEN, Kind.FAULT)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in shown if kinds[kind])
    return f"{len(events)} events of {members} members: {counts or 'nothing of note'}"


def _line(event: Event, start: int) -> str:
    where = ".".join(one for one in (event.queue, event.group, event.part) if one)
    of_message = f"id={event.id!r}" if event.id else ""
    key = f"key={event.key!r}" if event.key is not None else ""
    attempt = f"attempt {event.attempt}" if event.attempt else ""
    detail = ", ".join((event.detail, *event.members)).strip(", ")
    words = (event.member, event.kind, where, of_message, key, attempt, event.origin, event.session, detail)
    return f"{(event.at - start) / 1e9:12.6f} s  " + " ".join(word for word in words if word)
