"""Of each key: is the order kept, and is it one at a time? Pure.

Inside a member always; across members where the queue says so (partitions).
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


def disordered(story: Timeline) -> Iterator[Violation]:
    """Handled first although it was published later."""
    for firsts in _first_successes(story).values():
        seen = _Seen()
        for publish, call in sorted(firsts, key=lambda pair: pair[1].over):
            before = seen.overtaking(publish)
            if before is not None and not _displaced(story, publish, call):
                earlier, overtaking = before
                yield violation_of(
                    ViolationKind.ORDER,
                    f"key {call.begin.key!r}: message {overtaking.begin.id} was handled before {call.begin.id}",
                    *(publish.begin, publish.end, earlier.begin, overtaking.end, call.begin, call.end),
                )
            seen.add(publish, call)


def _first_successes(story: Timeline) -> dict[tuple[str, ...], list[tuple[Publish, Call]]]:
    """By lane: each message with its publish, if that was one only, and the call that handled it first."""
    lanes: dict[tuple[str, ...], list[tuple[Publish, Call]]] = defaultdict(list)
    for life in story.lives.values():
        publishes = [one for one in story.publishes.get(life.name, []) if one.may_arrive]
        handled = sorted((call for call in life.calls if call.handled), key=lambda call: call.over)
        if len(publishes) == 1 and handled and handled[0].begin.key is not None:
            lanes[_ordering_key(story, handled[0])].append((publishes[0], handled[0]))
    return lanes


def _ordering_key(story: Timeline, call: Call) -> tuple[str, ...]:
    one = call.begin
    across = () if one.queue in story.ordered else (one.member,)
    return (one.queue, one.group, str(one.key), *across)


class _Seen:
    """What was handled so far of a lane; only the latest publish of all and of each call can have overtaken another."""

    def __init__(self) -> None:
        self._latest: tuple[Publish, Call] | None = None
        self._of_call: dict[tuple[str, int], tuple[Publish, Call]] = {}

    def overtaking(self, publish: Publish) -> tuple[Publish, Call] | None:
        """What should have come after ``publish``."""
        candidates = (self._of_call.get((publish.begin.member, publish.begin.call)), self._latest)
        return next((pair for pair in candidates if pair is not None and publish.precedes(pair[0])), None)

    def add(self, publish: Publish, call: Call) -> None:
        """``publish`` was handled by ``call``."""
        begin = publish.begin
        if self._latest is None or begin.at >= self._latest[0].begin.at:
            self._latest = (publish, call)
        before = self._of_call.get((begin.member, begin.call))
        if before is None or publish.place > before[0].place:
            self._of_call[begin.member, begin.call] = (publish, call)


def _displaced(story: Timeline, publish: Publish, call: Call) -> bool:
    """Whether a message may come out of order: it was delayed, retried, sent back, or given to another before."""
    one = call.begin
    life = story.life(Name(one.queue, one.id), one.group)
    if publish.begin.delayed or any(event.at < one.at for event in life.of(Kind.RETRIED, Kind.REDRIVEN)):
        return True
    if one.queue in story.ordered:
        return False
    handed = [handing.begin for handing in life.handings if handing.begin.at <= one.at]
    if len({event.session for event in handed}) > 1:
        return True
    until = handed[0].at if handed else one.at
    # What another member had fetched and never handed out comes back when its session ends.
    others = [end for end in story.endings if end.group == one.group and publish.begin.at <= end.at <= until]
    return bool(others) or any(f.begin.at <= until and publish.begin.at <= f.begin.at for f in story.faults)


def overlaps(story: Timeline) -> Iterator[Violation]:
    """Two calls at once of one key, or of one message."""
    for one, other in _pairs(story):
        if other.begin.at < one.over and not story.interrupted(
            one.handing, one.begin.member, one.begin.at, other.begin.at
        ):
            same = one.begin.id == other.begin.id
            what = f"message {one.begin.id}" if same else f"key {one.begin.key!r}"
            yield violation_of(
                ViolationKind.OVERLAP, f"{what} was called twice at once", one.begin, other.begin, one.end
            )


def _pairs(story: Timeline) -> Iterator[tuple[Call, Call]]:
    """Calls that may not overlap, each with the next that begins."""
    lanes: dict[tuple[str, ...], list[Call]] = defaultdict(list)
    for life in story.lives.values():
        if story.copies(life) <= 1 and not _forwarded_twice(story, life):
            yield from pairwise(life.calls)
        for call in life.calls:
            if call.begin.key is not None:
                lanes[_ordering_key(story, call)].append(call)
    for calls in lanes.values():
        in_time = pairwise(sorted(calls, key=lambda call: call.begin.at))
        yield from (pair for pair in in_time if pair[0].begin.id != pair[1].begin.id)


def _forwarded_twice(story: Timeline, life: MessageLife) -> bool:
    """Whether a fault met it while a copy of it was made: the copy may be there, and it may come again."""
    return any(story.met(handing) and _copied(life, handing) for handing in life.handings)


def _copied(life: MessageLife, handing: HandOver) -> bool:
    """It failed in this hand, or was parked: again, where it lay in a retry queue."""
    made = life.of(Kind.RAISED, Kind.RETRIED)
    of_it = (one for one in made if one.member == handing.begin.member and handing.begin.at <= one.at <= handing.over)
    return bool(handing.begin.part) or any(of_it)
