"""Checks of each key: order, and one call at a time. Pure.

Both hold inside a member always, and across members where the queue has partitions.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from msgbus.testing.verification.events import Kind
from msgbus.testing.verification.timeline import Name
from msgbus.testing.verification.violation import Violation, ViolationKind, violation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.testing.verification.timeline import Call, HandOver, MessageLife, Publish, Timeline

__all__ = ["disordered", "overlaps"]


def disordered(timeline: Timeline) -> Iterator[Violation]:
    """Find messages handled before messages of the same key that were published earlier."""
    for firsts in _first_successes(timeline).values():
        seen = _Seen()
        for publish, call in sorted(firsts, key=lambda pair: pair[1].over):
            before = seen.overtaking(publish)
            if before is not None and not _displaced(timeline, publish, call):
                earlier, overtaking = before
                yield violation_of(
                    ViolationKind.ORDER,
                    f"key {call.begin.key!r}: message {overtaking.begin.id} was handled before {call.begin.id}",
                    *(publish.begin, publish.end, earlier.begin, overtaking.end, call.begin, call.end),
                )
            seen.add(publish, call)


def _first_successes(timeline: Timeline) -> dict[tuple[str, ...], list[tuple[Publish, Call]]]:
    """Return, by ordering key, each message's only publish and the call that handled it first."""
    lanes: dict[tuple[str, ...], list[tuple[Publish, Call]]] = defaultdict(list)
    for life in timeline.lives.values():
        publishes = [one for one in timeline.publishes.get(life.name, []) if one.may_arrive]
        handled = sorted((call for call in life.calls if call.handled), key=lambda call: call.over)
        if len(publishes) == 1 and handled and handled[0].begin.key is not None:
            lanes[_ordering_key(timeline, handled[0])].append((publishes[0], handled[0]))
    return lanes


def _ordering_key(timeline: Timeline, call: Call) -> tuple[str, ...]:
    one = call.begin
    across = () if one.queue in timeline.ordered else (one.member,)
    return (one.queue, one.group, str(one.key), *across)


class _Seen:
    """Handled messages of a key; only the latest publish, and the latest of each call, can overtake another."""

    def __init__(self) -> None:
        self._latest: tuple[Publish, Call] | None = None
        self._of_call: dict[tuple[str, int], tuple[Publish, Call]] = {}

    def overtaking(self, publish: Publish) -> tuple[Publish, Call] | None:
        """Return a handled message that should have come after ``publish``."""
        candidates = (self._of_call.get((publish.begin.member, publish.begin.call)), self._latest)
        return next((pair for pair in candidates if pair is not None and publish.precedes(pair[0])), None)

    def add(self, publish: Publish, call: Call) -> None:
        """Note that ``call`` handled ``publish``."""
        begin = publish.begin
        if self._latest is None or begin.at >= self._latest[0].begin.at:
            self._latest = (publish, call)
        before = self._of_call.get((begin.member, begin.call))
        if before is None or publish.place > before[0].place:
            self._of_call[begin.member, begin.call] = (publish, call)


def _displaced(timeline: Timeline, publish: Publish, call: Call) -> bool:
    """Return whether a message may be out of order: delayed, retried, redriven, or in another session before."""
    one = call.begin
    life = timeline.life(Name(one.queue, one.id), one.group)
    if publish.begin.delayed or any(event.at < one.at for event in life.of(Kind.RETRIED, Kind.REDRIVEN)):
        return True
    if one.queue in timeline.ordered:
        return False
    handed = [handing.begin for handing in life.handings if handing.begin.at <= one.at]
    if len({event.session for event in handed}) > 1:
        return True
    until = handed[0].at if handed else one.at
    # Messages that another member had fetched and not handed out are redelivered when its session ends.
    others = [end for end in timeline.endings if end.group == one.group and publish.begin.at <= end.at <= until]
    # While a fault lasts, the member that it ends may still fetch messages, and no recording says so.
    return bool(others) or any(fault.begin.at <= until and publish.begin.at <= fault.over for fault in timeline.faults)


def overlaps(timeline: Timeline) -> Iterator[Violation]:
    """Find concurrent calls of one key, or of one message."""
    for one, other in _pairs(timeline):
        if other.begin.at < one.over and not timeline.interrupted(
            one.handing, one.begin.member, one.begin.at, other.begin.at
        ):
            same = one.begin.id == other.begin.id
            what = f"message {one.begin.id}" if same else f"key {one.begin.key!r}"
            yield violation_of(
                ViolationKind.OVERLAP, f"{what} was called twice at once", one.begin, other.begin, one.end
            )


def _pairs(timeline: Timeline) -> Iterator[tuple[Call, Call]]:
    """Yield calls that must not overlap, each with the next that begins."""
    lanes: dict[tuple[str, ...], list[Call]] = defaultdict(list)
    for life in timeline.lives.values():
        if timeline.copies(life) <= 1 and not _forwarded_twice(timeline, life):
            yield from pairwise(life.calls)
        for call in life.calls:
            if call.begin.key is not None:
                lanes[_ordering_key(timeline, call)].append(call)
    for calls in lanes.values():
        in_time = pairwise(sorted(calls, key=lambda call: call.begin.at))
        yield from (pair for pair in in_time if pair[0].begin.id != pair[1].begin.id)


def _forwarded_twice(timeline: Timeline, life: MessageLife) -> bool:
    """Return whether a fault hit a message while it was copied: the copy may exist, and the message be redelivered."""
    return any(timeline.met(handing) and _copied(life, handing) for handing in life.handings)


def _copied(life: MessageLife, handing: HandOver) -> bool:
    """Return whether the message was copied during this hand-over, or came from a retry queue."""
    made = life.of(Kind.RAISED, Kind.RETRIED)
    of_it = (one for one in made if one.member == handing.begin.member and handing.begin.at <= one.at <= handing.over)
    return bool(handing.begin.part) or any(of_it)
