"""Builder of timelines: joins events that end something with those that began it. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgbus.testing.verification.events import Kind
from msgbus.testing.verification.timeline import NEVER, Call, Fault, HandOver, MessageLife, Name, Publish, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.testing.verification.events import Event

__all__ = ["build_timeline"]


def build_timeline(events: Iterable[Event]) -> Timeline:
    """Build the timeline of ``events``, which may be in any order."""
    timeline, teller = Timeline(), _TimelineBuilder()
    for event in sorted(events, key=lambda event: event.at):
        teller.hear(timeline, event)
    for handings in teller.sessions.values():
        _follow_watermark(handings)
    return timeline


class _TimelineBuilder:
    """Events that have begun and have not ended yet."""

    def __init__(self) -> None:
        self.sessions: dict[str, list[HandOver]] = defaultdict(list)
        self._publishes: dict[tuple[str, int, Name], Publish] = {}
        self._places: dict[tuple[str, int], int] = defaultdict(int)
        self._calls: dict[tuple[str, int], Call] = {}
        self._in_flight: dict[tuple[str, int], HandOver] = {}
        self._latest: dict[tuple[str, str, Name], HandOver] = {}
        self._faults: dict[tuple[str, int], Fault] = {}

    def hear(self, timeline: Timeline, event: Event) -> None:
        """Take the next event into account."""
        if event.kind is Kind.EXISTS:
            timeline.groups.setdefault((event.queue, event.group), event)
            timeline.ordered |= {event.queue} if event.ordered else set()
        elif event.kind in _PUBLISHING:
            self._publish(timeline, event)
        elif event.kind in {Kind.REVOKED, Kind.LOST}:
            self._end(timeline, event)
        elif event.kind in {Kind.FAULT, Kind.OVER}:
            self._fault(timeline, event)
        elif event.id:
            self._live(timeline, event)

    def _publish(self, timeline: Timeline, event: Event) -> None:
        name = Name(event.queue, event.id)
        if event.kind is Kind.INVOKED:
            call = (event.member, event.call)
            one = self._publishes[*call, name] = Publish(event, place=self._places[call])
            self._places[call] += 1
            timeline.publishes[name].append(one)
        elif (begun := self._publishes.get((event.member, event.call, name))) is not None:
            begun.end = event

    def _end(self, timeline: Timeline, event: Event) -> None:
        timeline.endings.append(event)
        for handing in self.sessions.get(event.session, ()):
            handing.revoked = handing.revoked or event

    def _fault(self, timeline: Timeline, event: Event) -> None:
        if event.kind is Kind.FAULT:
            fault = self._faults[event.member, event.call] = Fault(event)
            timeline.faults.append(fault)
        elif (begun := self._faults.get((event.member, event.call))) is not None:
            begun.end = event

    def _live(self, timeline: Timeline, event: Event) -> None:
        name = Name(event.queue, event.id)
        life = timeline.lives.setdefault((name, event.group), MessageLife(name, event.group))
        life.events.append(event)
        if event.kind is Kind.HANDED:
            self._hand(life, event)
        elif event.kind is Kind.SETTLED:
            self._settle(event)
        elif event.kind is Kind.CALLED:
            call = Call(event, handing=self._latest.get((event.member, event.group, name)))
            self._calls[event.member, event.call] = call
            life.calls.append(call)
        elif event.kind in _ENDS and (begun := self._calls.get((event.member, event.call))) is not None:
            begun.end = event

    def _hand(self, life: MessageLife, event: Event) -> None:
        handing = HandOver(event)
        life.handings.append(handing)
        self.sessions[event.session].append(handing)
        self._in_flight[event.member, event.call] = handing
        if event.part != "dlq":
            self._latest[event.member, event.group, life.name] = handing

    def _settle(self, event: Event) -> None:
        handing = self._in_flight.get((event.member, event.call))
        if handing is not None and handing.revoked is None and handing.settled is None:
            handing.settled = event


_PUBLISHING = {Kind.INVOKED, Kind.CONFIRMED, Kind.FAILED, Kind.UNKNOWN}
_ENDS = {Kind.RETURNED, Kind.RAISED, Kind.CANCELLED}


def _follow_watermark(handings: Sequence[HandOver]) -> None:
    """Mark hand-overs as settled when all below them are, where acknowledging advances a watermark."""
    below = 0
    for handing in sorted(handings, key=lambda one: one.begin.position if one.begin.position is not None else -1):
        settled = NEVER if handing.settled is None else handing.settled.at
        if handing.begin.position is not None:
            settled = below = max(below, settled)
        handing.acknowledged = settled
