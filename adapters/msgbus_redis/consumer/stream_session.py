"""A member's time on one stream: what it holds, what was fetched and not handed out, and when to look for the dead's.

It decides and does no I/O. Times are the event loop's, in seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.adapter.envelope import Delivery
from msgbus_redis.codec import decode_message
from msgbus_redis.keys import settings_key, stream_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.adapter.address import Address

__all__ = ["SCAN_START_ID", "Entry", "StreamSession"]

SCAN_START_ID: Final = b"0-0"
"""Where XAUTOCLAIM begins, and what it answers at the end."""


class Entry(NamedTuple):
    """An entry as it was read."""

    id: bytes
    fields: Sequence[bytes]
    redelivered: bool
    at: float
    """When its reading was answered."""


class StreamSession:
    """This consumer's name on one stream."""

    __slots__ = (
        "acknowledged_during_read",
        "address",
        "backlogged",
        "claim_at",
        "cursor",
        "fetch_buffer",
        "group",
        "in_flight",
        "key",
        "over",
        "private",
        "settings_key",
        "visibility",
    )

    def __init__(self, address: Address, group: str, prefix: str, visibility: float) -> None:
        self.address = address
        self.group = group
        self.key = stream_key(prefix, address)
        self.settings_key = settings_key(prefix, address)
        self.visibility = visibility
        self.private = address.part.startswith("retry.") and address.group == group
        """Nobody else reads it: what is acknowledged is of no use to anyone."""
        self.in_flight: dict[bytes, float] = {}
        """Entry id -> when it was handed out or last extended."""
        self.fetch_buffer: deque[Entry] = deque()
        self.acknowledged_during_read: set[bytes] = set()
        """What was acknowledged while a read is under way: its answer may be older than that."""
        self.backlogged = False
        """The last read came back full: there is probably more."""
        self.claim_at = 0.0
        """When to look next for entries that nobody works on; at once in the beginning."""
        self.cursor = SCAN_START_ID
        self.over = False
        """Let go of: nothing of it is ours any more."""

    def fetched(self, entries: Iterable[Sequence[object]], now: float, *, redelivered: bool) -> int:
        """Keep what a read brought: ``[id, fields]`` each. Returns how many are to be handed out."""
        waiting = {entry.id for entry in self.fetch_buffer}
        before = len(self.fetch_buffer)
        for one in entries:
            identity, fields = one
            # An XAUTOCLAIM also finds what this consumer itself is slow with.
            known = identity in self.in_flight or identity in waiting or identity in self.acknowledged_during_read
            if not known:
                self.fetch_buffer.append(Entry(identity, fields or (), redelivered, now))  # type: ignore[arg-type]  # redis-py's replies are untyped
        return len(self.fetch_buffer) - before

    def hand_out(self, most: int, now: float) -> list[Delivery]:
        """Up to ``most`` of what was fetched.

        What lay here for long may be somebody else's by now: it is left to be taken over, like a dead member's.
        """
        given: list[Delivery] = []
        while self.fetch_buffer and len(given) < most:
            entry = self.fetch_buffer.popleft()
            if now - entry.at < self.visibility / 2:
                self.in_flight[entry.id] = entry.at
                given.append(self._delivery(entry))
        return given

    def _delivery(self, entry: Entry) -> Delivery:
        made = decode_message(self.address, self.group, entry.id, entry.fields, redelivered=entry.redelivered)
        return Delivery(made, self.address, self, entry.id)

    def certainly_owned(self, identity: bytes, now: float) -> bool:
        """Certainly still ours: nobody may have taken it over yet."""
        return now - self.in_flight.get(identity, -self.visibility) < self.visibility / 2

    def end(self) -> None:
        """Let go: what was fetched and not handed out goes back with the rest."""
        self.over = True
        self.in_flight.clear()
        self.fetch_buffer.clear()

    def forget(self, identities: Iterable[bytes]) -> None:
        """These are acknowledged, or somebody else's."""
        for identity in identities:
            self.in_flight.pop(identity, None)
            self.acknowledged_during_read.add(identity)
