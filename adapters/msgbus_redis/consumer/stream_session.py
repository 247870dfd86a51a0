"""A member's time on one stream: what it holds, what was fetched and not handed out, and when to look for the dead's.

It decides and does no I/O. Times are the event loop's, in seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.adapter.envelope import Delivery
from msgbus_redis.codec import message
from msgbus_redis.keys import about, stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.adapter.address import Address

__all__ = ["START", "Entry", "Session"]

START: Final = b"0-0"
"""Where XAUTOCLAIM begins, and what it answers at the end."""


class Entry(NamedTuple):
    """An entry as it was read."""

    id: bytes
    fields: Sequence[bytes]
    redelivered: bool
    at: float
    """When its reading was answered."""


class Session:
    """This consumer's name on one stream."""

    __slots__ = (
        "about",
        "address",
        "claim_at",
        "cursor",
        "group",
        "held",
        "hot",
        "key",
        "over",
        "private",
        "settled",
        "surplus",
        "visibility",
    )

    def __init__(self, address: Address, group: str, prefix: str, visibility: float) -> None:
        self.address = address
        self.group = group
        self.key = stream(prefix, address)
        self.about = about(prefix, address)
        self.visibility = visibility
        self.private = address.part.startswith("retry.") and address.group == group
        """Nobody else reads it: what is acknowledged is of no use to anyone."""
        self.held: dict[bytes, float] = {}
        """Entry id -> when it was handed out or last extended."""
        self.surplus: deque[Entry] = deque()
        self.settled: set[bytes] = set()
        """What was acknowledged while a read is under way: its answer may be older than that."""
        self.hot = False
        """The last read came back full: there is probably more."""
        self.claim_at = 0.0
        """When to look next for entries that nobody works on; at once in the beginning."""
        self.cursor = START
        self.over = False
        """Let go of: nothing of it is ours any more."""

    def fetched(self, entries: Iterable[Sequence[object]], now: float, *, redelivered: bool) -> int:
        """Keep what a read brought: ``[id, fields]`` each. Returns how many are to be handed out."""
        waiting = {entry.id for entry in self.surplus}
        before = len(self.surplus)
        for one in entries:
            identity, fields = one
            # An XAUTOCLAIM also finds what this consumer itself is slow with.
            known = identity in self.held or identity in waiting or identity in self.settled
            if not known:
                self.surplus.append(Entry(identity, fields or (), redelivered, now))  # type: ignore[arg-type]  # redis-py's replies are untyped
        return len(self.surplus) - before

    def hand_out(self, most: int, now: float) -> list[Delivery]:
        """Up to ``most`` of what was fetched.

        What lay here for long may be somebody else's by now: it is left to be taken over, like a dead member's.
        """
        given: list[Delivery] = []
        while self.surplus and len(given) < most:
            entry = self.surplus.popleft()
            if now - entry.at < self.visibility / 2:
                self.held[entry.id] = entry.at
                given.append(self._delivery(entry))
        return given

    def _delivery(self, entry: Entry) -> Delivery:
        made = message(self.address, self.group, entry.id, entry.fields, redelivered=entry.redelivered)
        return Delivery(made, self.address, self, entry.id)

    def fresh(self, identity: bytes, now: float) -> bool:
        """Certainly still ours: nobody may have taken it over yet."""
        return now - self.held.get(identity, -self.visibility) < self.visibility / 2

    def end(self) -> None:
        """Let go: what was fetched and not handed out goes back with the rest."""
        self.over = True
        self.held.clear()
        self.surplus.clear()

    def release(self, identities: Iterable[bytes]) -> None:
        """These are acknowledged, or somebody else's."""
        for identity in identities:
            self.held.pop(identity, None)
            self.settled.add(identity)
