"""Timeline of a recording: publishes and calls with their ends, hand-overs with their sessions, faults. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.testing.verification.events import Kind

if TYPE_CHECKING:
    from msgbus.testing.verification.events import Event

__all__ = ["LAZY_ACK_NANOSECONDS", "NEVER", "Call", "Fault", "HandOver", "MessageLife", "Name", "Publish", "Timeline"]

NEVER: Final = 2**63
"""A time after every event."""
LAZY_ACK_NANOSECONDS: Final = 1_000_000_000
"""Nanoseconds after which an acknowledgement has reached the server: adapters may take 200 ms, busy machines more."""


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
    """Place in its call: publish_many() keeps the order."""

    @property
    def may_arrive(self) -> bool:
        """Whether the message may arrive: confirmed or unknown."""
        return self.end is None or self.end.kind is not Kind.FAILED

    @property
    def confirmed(self) -> bool:
        """Whether the publisher got a confirmation."""
        return self.end is not None and self.end.kind is Kind.CONFIRMED

    @property
    def over(self) -> int:
        """Time of its end."""
        return NEVER if self.end is None else self.end.at

    def precedes(self, other: Publish) -> bool:
        """Return whether the promise says that this publish comes before ``other``."""
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
        """Whether the callback returned."""
        return self.end is not None and self.end.kind is Kind.RETURNED

    @property
    def over(self) -> int:
        """Time of its end."""
        return NEVER if self.end is None else self.end.at


@dataclass(slots=True)
class HandOver:
    """A hand-over: one message in flight in one member."""

    begin: Event
    settled: Event | None = None
    revoked: Event | None = None
    """Event that ended its session."""
    acknowledged: int = NEVER
    """Event that settled it and, where acknowledging advances a watermark, everything below it."""

    @property
    def over(self) -> int:
        """Time from which a crash of the member does not affect it any more."""
        return min(self.acknowledged, NEVER if self.revoked is None else self.revoked.at) + LAZY_ACK_NANOSECONDS

    @property
    def durable(self) -> int:
        """Time from which its acknowledgement is on the server: a drain ends with a flush, a lost session without."""
        known = self.acknowledged + LAZY_ACK_NANOSECONDS
        if self.acknowledged == NEVER or self.revoked is None or self.revoked.at >= known:
            return known
        return self.revoked.at if self.revoked.kind is Kind.REVOKED else NEVER


@dataclass(slots=True)
class Fault:
    """An injected fault."""

    begin: Event
    end: Event | None = None

    @property
    def over(self) -> int:
        """Time of its end."""
        return NEVER if self.end is None else self.end.at

    def hits(self, member: str, begin: int, end: int) -> bool:
        """Return whether it hit ``member`` between these times."""
        return self.begin.at <= end and begin <= self.over and (not self.begin.members or member in self.begin.members)


@dataclass(slots=True)
class MessageLife:
    """Events of one message in one group, in order of time."""

    name: Name
    group: str
    events: list[Event] = field(default_factory=list["Event"])
    calls: list[Call] = field(default_factory=list[Call])
    handings: list[HandOver] = field(default_factory=list[HandOver])

    def of(self, *kinds: Kind) -> list[Event]:
        """Return its events of these kinds."""
        return [event for event in self.events if event.kind in kinds]


class Timeline:
    """A recording whose events are joined."""

    def __init__(self) -> None:
        self.publishes: dict[Name, list[Publish]] = defaultdict(list)
        self.lives: dict[tuple[Name, str], MessageLife] = {}
        self.faults: list[Fault] = []
        self.groups: dict[tuple[str, str], Event] = {}
        """Event since which a (queue, group) exists."""
        self.ordered: set[str] = set()
        self.endings: list[Event] = []
        """Ends of sessions, with or without a drain."""

    def life(self, name: Name, group: str) -> MessageLife:
        """Return the events of a message in a group; empty if there are none."""
        return self.lives.get((name, group)) or MessageLife(name, group)

    def hits(self, member: str, begin: int, end: int) -> list[Fault]:
        """Return the faults that hit ``member`` between these times."""
        return [fault for fault in self.faults if fault.hits(member, begin, end)]

    def interrupted(self, handing: HandOver | None, member: str, begin: int, end: int) -> bool:
        """Return whether another member may have received, in between, what was in flight in ``member``."""
        if handing is not None and handing.revoked is not None and begin <= handing.revoked.at <= end:
            return True
        return bool(self.hits(member, begin, end))

    def bound(self, life: MessageLife) -> int:
        """Return how often a message may be handled: once per copy, and once more per hand-over that a fault hit."""
        return self.copies(life) + sum(1 for handing in life.handings if self.met(handing))

    def met(self, handing: HandOver) -> bool:
        """Return whether a fault hit it, so that it may be redelivered."""
        return bool(self.hits(handing.begin.member, handing.begin.at, handing.over))

    def copies(self, life: MessageLife) -> int:
        """Return how often it may have been published: after a fault a publish is repeated, and both may arrive."""
        publishes = [one for one in self.publishes.get(life.name, []) if one.may_arrive]
        return len(publishes) + sum(len(self.hits(one.begin.member, one.begin.at, one.over)) for one in publishes)
