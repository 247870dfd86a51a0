"""What a recording tells: publishes and calls with their ends, hand-overs with their sessions, faults. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.testing.verification.events import Kind

if TYPE_CHECKING:
    from msgbus.testing.verification.events import Event

__all__ = ["LAZY_ACK_NANOSECONDS", "NEVER", "Call", "Fault", "HandOver", "MessageLife", "Name", "Publish", "Timeline"]

NEVER: Final = 2**63
"""After everything."""
LAZY_ACK_NANOSECONDS: Final = 1_000_000_000
"""Nanoseconds after which an acknowledgement is on the server: an adapter may take 200 ms, a busy machine more."""


class Name(NamedTuple):
    """A message of a queue."""

    queue: str
    id: str


@dataclass(slots=True)
class Publish:
    """One publish of one message."""

    begin: Event
    end: Event | None = None
    place: int = 0
    """In its call: publish_many() keeps the order."""

    @property
    def may_arrive(self) -> bool:
        """Confirmed, or nobody knows."""
        return self.end is None or self.end.kind is not Kind.FAILED

    @property
    def confirmed(self) -> bool:
        """The publisher was told so."""
        return self.end is not None and self.end.kind is Kind.CONFIRMED

    @property
    def over(self) -> int:
        """When it ended."""
        return NEVER if self.end is None else self.end.at

    def precedes(self, other: Publish) -> bool:
        """Whether the promise says that this one comes first."""
        if (self.begin.member, self.begin.call) == (other.begin.member, other.begin.call):
            return self.place < other.place
        return self.over <= other.begin.at


@dataclass(slots=True)
class Call:
    """One call of a callback."""

    begin: Event
    end: Event | None = None
    handing: HandOver | None = None

    @property
    def handled(self) -> bool:
        """The callback returned."""
        return self.end is not None and self.end.kind is Kind.RETURNED

    @property
    def over(self) -> int:
        """When it ended."""
        return NEVER if self.end is None else self.end.at


@dataclass(slots=True)
class HandOver:
    """One message in one member's hand."""

    begin: Event
    settled: Event | None = None
    revoked: Event | None = None
    """How its session ended."""
    acknowledged: int = NEVER
    """When it and, where acknowledging moves a watermark, all below it were settled."""

    @property
    def over(self) -> int:
        """When no death of the member matters to it any more."""
        return min(self.acknowledged, NEVER if self.revoked is None else self.revoked.at) + LAZY_ACK_NANOSECONDS

    @property
    def durable(self) -> int:
        """From when on the server knows that it is settled: a drain ends with a flush, a lost session with none."""
        known = self.acknowledged + LAZY_ACK_NANOSECONDS
        if self.acknowledged == NEVER or self.revoked is None or self.revoked.at >= known:
            return known
        return self.revoked.at if self.revoked.kind is Kind.REVOKED else NEVER


@dataclass(slots=True)
class Fault:
    """Something that went wrong on purpose."""

    begin: Event
    end: Event | None = None

    def hits(self, member: str, begin: int, end: int) -> bool:
        """Whether it hit ``member`` between these times."""
        over = NEVER if self.end is None else self.end.at
        return self.begin.at <= end and begin <= over and (not self.begin.members or member in self.begin.members)


@dataclass(slots=True)
class MessageLife:
    """What became of one message in one group, in the order of time."""

    name: Name
    group: str
    events: list[Event] = field(default_factory=list["Event"])
    calls: list[Call] = field(default_factory=list[Call])
    handings: list[HandOver] = field(default_factory=list[HandOver])

    def of(self, *kinds: Kind) -> list[Event]:
        """Its events of these kinds."""
        return [event for event in self.events if event.kind in kinds]


class Timeline:
    """A recording, put together."""

    def __init__(self) -> None:
        self.publishes: dict[Name, list[Publish]] = defaultdict(list)
        self.lives: dict[tuple[Name, str], MessageLife] = {}
        self.faults: list[Fault] = []
        self.groups: dict[tuple[str, str], Event] = {}
        """The event since which a (queue, group) exists."""
        self.ordered: set[str] = set()
        self.endings: list[Event] = []
        """Sessions that ended, in good order or not."""

    def life(self, name: Name, group: str) -> MessageLife:
        """What became of a message in a group; empty if nothing did."""
        return self.lives.get((name, group)) or MessageLife(name, group)

    def hits(self, member: str, begin: int, end: int) -> list[Fault]:
        """Faults that hit ``member`` between these times."""
        return [fault for fault in self.faults if fault.hits(member, begin, end)]

    def interrupted(self, handing: HandOver | None, member: str, begin: int, end: int) -> bool:
        """Whether what ``member`` had in hand may have come to somebody else in between."""
        if handing is not None and handing.revoked is not None and begin <= handing.revoked.at <= end:
            return True
        return bool(self.hits(member, begin, end))

    def bound(self, life: MessageLife) -> int:
        """How often a message may be handled: once for each copy, and again for each hand in which a fault met it."""
        return self.copies(life) + sum(1 for handing in life.handings if self.met(handing))

    def met(self, handing: HandOver) -> bool:
        """Whether a fault met it, so that it may come again."""
        return bool(self.hits(handing.begin.member, handing.begin.at, handing.over))

    def copies(self, life: MessageLife) -> int:
        """How often it may have been published: a fault makes a publish be tried again, and both may arrive."""
        publishes = [one for one in self.publishes.get(life.name, []) if one.may_arrive]
        return len(publishes) + sum(len(self.hits(one.begin.member, one.begin.at, one.over)) for one in publishes)
