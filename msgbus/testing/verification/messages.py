"""Checks of each message: lost, never published, corrupt, or handled too often. Pure."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from msgbus.testing.verification.events import Kind
from msgbus.testing.verification.violation import Violation, ViolationKind, violation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.testing.verification.events import Event
    from msgbus.testing.verification.timeline import HandOver, MessageLife, Publish, Timeline

__all__ = ["corrupt", "duplicates", "fenced", "lost", "phantoms", "regressed", "settled_early"]


def lost(timeline: Timeline) -> Iterator[Violation]:
    """Find confirmed messages that a group, which existed before, has neither handled nor dead-lettered at the end."""
    for (queue, group), exists in timeline.groups.items():
        for name, publishes in timeline.publishes.items():
            if name.queue != queue:
                continue
            promised = [one for one in publishes if one.confirmed and one.begin.at >= exists.at]
            if promised and (last := _unfinished(timeline.life(name, group), promised[-1])):
                yield violation_of(
                    ViolationKind.LOST,
                    f"message {name.id} of {queue}: group {group} has neither handled nor dead-lettered it",
                    exists,
                    *(promised[-1].begin, promised[-1].end),
                    *last,
                )


def _unfinished(life: MessageLife, publish: Publish) -> list[Event]:
    """Return the last events of an unfinished message; none if it was handled or dead-lettered."""
    sent_back = [event for event in life.of(Kind.REDRIVEN) if event.part != "dlq"]
    since = sent_back[-1].at if sent_back else 0
    if any(event.at >= since for event in life.of(Kind.RETURNED, Kind.DEAD_LETTERED)):
        return []
    return [*(sent_back[-1:]), *life.events[-2:]] or [publish.begin]


def settled_early(timeline: Timeline) -> Iterator[Violation]:
    """Find messages acknowledged before they were handled or copied, and dead letters removed before their redrive."""
    for life in timeline.lives.values():
        for handing in life.handings:
            if handing.settled is not None and not _earned(life, handing, handing.settled):
                yield violation_of(
                    ViolationKind.LOST,
                    f"message {life.name.id} of {life.name.queue} was settled before it was handled or copied: a "
                    "crash would lose it",
                    handing.begin,
                    handing.settled,
                )


def _earned(life: MessageLife, handing: HandOver, settled: Event) -> bool:
    if handing.begin.part == "dlq":
        later = [one for one in life.of(Kind.REDRIVEN) if one.member == settled.member and one.at > settled.at]
        again = [one for one in life.handings if one.begin.at > settled.at and one.begin.part == "dlq"]
        return not later or bool(again)
    ends = life.of(Kind.RETURNED, Kind.RETRIED, Kind.DEAD_LETTERED)
    return any(handing.begin.at <= one.at <= settled.at and one.member == settled.member for one in ends)


def phantoms(timeline: Timeline) -> Iterator[Violation]:
    """Find messages that were handled and never published."""
    for life in timeline.lives.values():
        publishes = timeline.publishes.get(life.name, [])
        for call in life.calls[:1]:
            if not any(one.may_arrive and one.begin.at <= call.begin.at for one in publishes):
                failed = [event for one in publishes for event in (one.begin, one.end)]
                what = "its publish failed for certain" if publishes else "it was never published"
                yield violation_of(
                    ViolationKind.PHANTOM, f"message {life.name.id} was handled, and {what}", call.begin, *failed
                )


def corrupt(timeline: Timeline) -> Iterator[Violation]:
    """Find messages that were handled with other content than was published."""
    for life in timeline.lives.values():
        publishes = timeline.publishes.get(life.name, [])
        sent = {one.begin.content for one in publishes}
        for call in life.calls:
            if publishes and call.begin.content not in sent:
                what = f"message {life.name.id} is not what was published"
                yield violation_of(ViolationKind.CORRUPT, what, publishes[-1].begin, call.begin)
                break


def duplicates(timeline: Timeline) -> Iterator[Violation]:
    """Find messages handled more often than their copies, and faults while they were in flight, explain."""
    for life in timeline.lives.values():
        handled = [call for call in life.calls if call.handled]
        bound = timeline.bound(life)
        if len(handled) > max(bound, 1) and life.name in timeline.publishes:
            yield violation_of(
                ViolationKind.DUPLICATE,
                f"message {life.name.id} was handled {len(handled)} times by group {life.group}; its publishes and the "
                f"faults that met it in flight explain {bound}",
                *(event for call in handled for event in (call.begin, call.end)),
                *(handing.settled for handing in life.handings),
            )


def fenced(timeline: Timeline) -> Iterator[Violation]:
    """Find messages copied by a member whose session had ended: another member has the message too."""
    for life in timeline.lives.values():
        for event in life.of(Kind.FORWARDING):
            handovers = [one for one in life.handings if one.begin.member == event.member and one.begin.at < event.at]
            if handovers and not _may_forward(life, handovers, event):
                yield violation_of(
                    ViolationKind.DUPLICATE,
                    f"message {life.name.id} was passed on by {event.member}, whose session was over",
                    *(handovers[-1].begin, handovers[-1].revoked, event),
                )
                break


def _may_forward(life: MessageLife, handovers: list[HandOver], event: Event) -> bool:
    """Return whether the message is in flight in the member, or is being redriven by it."""
    if any(one.revoked is None or one.revoked.at >= event.at for one in handovers):
        return True
    return any(
        handovers[-1].begin.at < one.at < event.at and one.member == event.member for one in life.of(Kind.REDRIVEN)
    )


def regressed(timeline: Timeline) -> Iterator[Violation]:
    """Find messages handed over again after a durable acknowledgement: the server or a committed position went back."""
    for life in timeline.lives.values():
        for earlier, later in _again(life):
            if earlier.durable <= later.begin.at and not timeline.met(earlier):
                yield violation_of(
                    ViolationKind.REGRESS,
                    f"message {life.name.id} at {later.begin.origin} was settled for good and handed over again",
                    *(earlier.begin, earlier.settled, earlier.revoked, later.begin),
                )
                break


def _again(life: MessageLife) -> Iterator[tuple[HandOver, HandOver]]:
    """Yield the hand-overs of one place on the server, each with the next."""
    places: dict[tuple[str, str], list[HandOver]] = defaultdict(list)
    for handing in life.handings:
        if handing.begin.origin and handing.begin.part != "dlq":
            places[handing.begin.part, handing.begin.origin].append(handing)
    for handings in places.values():
        yield from pairwise(handings)
