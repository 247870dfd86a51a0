"""Hand-written recordings of queue ``q`` and group ``g``, with events a millisecond apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgbus.testing.verification import Event, Kind, Recorder, check

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

A, B = "a", "b"
"""Two members."""
MILLISECOND = 1_000_000


class Tale:
    """Events in the order in which its methods are called."""

    def __init__(self, *, ordered: bool = False) -> None:
        self.events: list[Event] = []
        self._now = 0
        self._calls = 0
        self._open: dict[tuple[str, str], Event] = {}
        self._hands: dict[tuple[str, int, str, str], int] = {}
        self._keys: dict[str, str | None] = {}
        self.add(Kind.EXISTS, group="g", ordered=ordered)

    def add(self, kind: Kind, **fields: Any) -> Event:
        """Add an event."""
        self._now += MILLISECOND
        event = Event(at=self._now, kind=kind, **{"member": "p", "queue": "q", **fields})
        self.events.append(event)
        return event

    def later(self, seconds: float) -> Tale:
        """Let ``seconds`` pass."""
        self._now += int(seconds * 1e9)
        return self

    def published(self, *ids: str, verdict: Kind | None = Kind.CONFIRMED, key: str | None = "k", **more: Any) -> Tale:
        """Add one publish_many() with its result; ``verdict`` None: it never ended."""
        self._calls += 1
        call = self._calls
        for id in ids:
            self._keys[id] = key
            self.add(Kind.INVOKED, id=id, key=key, call=call, content="sum", **more)
        for id in ids if verdict is not None else ():
            self.add(verdict or Kind.CONFIRMED, id=id, key=key, call=call)
        return self

    def handed(self, member: str, *ids: str, session: int = 1, part: str = "") -> Tale:
        """Add hand-overs to the member."""
        for id in ids:
            self._calls += 1
            self._hands[member, session, part, id] = self._calls
            position = int(id) if self.logged and not part else None
            origin = f"at-{id}"
            name = f"{member}/{session}"
            fields = {"member": member, "group": "g", "id": id, "part": part, "session": name, "call": self._calls}
            self.add(Kind.HANDED, **fields, origin=origin, position=position)
        return self

    logged = False
    """Whether acknowledging moves a watermark; ids are positions then."""

    def called(self, member: str, id: str, attempt: int = 1, content: str = "sum") -> Tale:
        """Add the begin of a call."""
        self._calls += 1
        fields = {"member": member, "group": "g", "id": id, "key": self._keys.get(id), "attempt": attempt}
        self._open[member, id] = self.add(Kind.CALLED, **fields, call=self._calls, content=content)
        return self

    def ended(self, member: str, id: str, kind: Kind = Kind.RETURNED) -> Tale:
        """The callback ends."""
        self._now += MILLISECOND
        self.events.append(replace(self._open.pop((member, id)), at=self._now, kind=kind, content=""))
        return self

    def settled(self, member: str, *ids: str, session: int = 1, part: str = "") -> Tale:
        """Acknowledged."""
        for id in ids:
            fields = {"member": member, "group": "g", "id": id, "part": part, "session": f"{member}/{session}"}
            self.add(Kind.SETTLED, **fields, call=self._hands[member, session, part, id])
        return self

    def handled(self, member: str, *ids: str, session: int = 1) -> Tale:
        """Handed over, called, returned, settled."""
        for id in ids:
            self.handed(member, id, session=session).called(member, id).ended(member, id)
            self.settled(member, id, session=session)
        return self

    def failed(self, member: str, id: str, attempt: int = 1) -> Tale:
        """Called, raised."""
        return self.called(member, id, attempt).ended(member, id, Kind.RAISED)

    def forwarding(self, member: str, id: str, attempt: int = 2) -> Tale:
        """On its way to a retry queue."""
        self.add(Kind.FORWARDING, member=member, group="g", part="retry.1s", id=id, attempt=attempt)
        return self

    def retried(self, member: str, id: str, attempt: int) -> Tale:
        """In a retry queue, due for ``attempt``."""
        self.add(Kind.RETRIED, member=member, group="g", part="retry.1s", id=id, attempt=attempt)
        return self

    def dead(self, member: str, id: str, attempts: int) -> Tale:
        """In the dead-letter queue."""
        self.add(Kind.DEAD_LETTERED, member=member, group="g", part="dlq", id=id, attempt=attempts)
        return self

    def redriven(self, member: str, id: str) -> Tale:
        """On its way back."""
        self.add(Kind.REDRIVEN, member=member, group="g", part="retry.1s", id=id)
        return self

    def revoked(self, member: str, session: int = 1) -> Tale:
        """A session ends in good order."""
        self.add(Kind.REVOKED, member=member, group="g", session=f"{member}/{session}")
        return self

    def lost(self, member: str, session: int = 1) -> Tale:
        """A session is taken away."""
        self.add(Kind.LOST, member=member, group="g", session=f"{member}/{session}")
        return self

    def killed(self, *members: str) -> Tale:
        """A fault, over at once."""
        self._calls += 1
        self.add(Kind.FAULT, call=self._calls, members=members, detail="killed")
        self.add(Kind.OVER, call=self._calls)
        return self

    def verdicts(self) -> list[str]:
        """What is wrong with it."""
        return [str(one.verdict) for one in check(self.events)]


def write(path: Path, events: Iterable[Event]) -> Path:
    """Record ``events`` in a file."""
    with Recorder(path) as recorder:
        for event in events:
            recorder(event)
    return path
