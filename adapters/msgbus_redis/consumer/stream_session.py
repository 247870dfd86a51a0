"""Session of one member on one stream: in-flight entries, the fetch buffer, and when to claim from dead members.

It decides and does no I/O: :class:`StreamReader`, :class:`Acknowledger` and :class:`RedisConsumer` do that, and change
its state by its methods only. Times are the event loop's, in seconds.

Invariants:

- An entry is in the fetch buffer, in flight, or neither; never both.
- What stayed in the fetch buffer for half of the visibility time is not handed out: another member may claim it.
- An entry that was acknowledged while a read is in progress is not taken from that read's reply.
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
"""The cursor that begins an XAUTOCLAIM scan, and that the server answers at its end."""
CLAIM_AT_ONCE: Final = 0.0
"""A time of the next claim that is always due."""


class Entry(NamedTuple):
    """A stream entry in the fetch buffer."""

    id: bytes
    fields: Sequence[bytes]
    redelivered: bool
    at: float
    """When the reply with this entry arrived, in seconds of the event loop's time."""


class StreamSession:
    """One consumer name on one stream."""

    __slots__ = (
        "_acknowledged_during_read",
        "_claim_at",
        "_cursor",
        "_fetch_buffer",
        "_in_flight",
        "_over",
        "_visibility",
        "address",
        "backlogged",
        "group",
        "key",
        "private",
        "settings_key",
    )

    def __init__(self, address: Address, group: str, prefix: str, visibility: float) -> None:
        self.address = address
        self.group = group
        self.key = stream_key(prefix, address)
        self.settings_key = settings_key(prefix, address)
        self.private = address.is_retry_queue and address.group == group
        """This group alone reads the stream, so an acknowledged entry can be deleted."""
        self.backlogged = False
        """The last read returned as many entries as it asked for: there are probably more."""
        self._visibility = visibility
        self._in_flight: dict[bytes, float] = {}  # entry id -> when it was handed out or last extended
        self._fetch_buffer: deque[Entry] = deque()
        self._acknowledged_during_read: set[bytes] = set()
        self._claim_at = CLAIM_AT_ONCE
        self._cursor = SCAN_START_ID
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the session has ended: this member owns none of its entries any more."""
        return self._over

    @property
    def buffered(self) -> bool:
        """Whether the fetch buffer has entries."""
        return bool(self._fetch_buffer)

    # Reading new entries.

    def begin_read(self) -> None:
        """Note that a read begins: acknowledgements before it are in its reply already."""
        self._acknowledged_during_read.clear()

    def add_new(self, entries: Sequence[Sequence[object]], asked: int, now: float) -> None:
        """Put the entries of an XREADGROUP that asked for ``asked`` of them into the fetch buffer."""
        self.backlogged = len(entries) >= asked
        self._add(entries, now, redelivered=False)

    # Claiming entries of dead members.

    @property
    def cursor(self) -> bytes:
        """Where the next XAUTOCLAIM goes on."""
        return self._cursor

    def claim_due(self, now: float) -> bool:
        """Return whether an XAUTOCLAIM is due; the first is due at once."""
        return self._claim_at <= now

    def seconds_until_claim(self, now: float) -> float:
        """Return the seconds until the next XAUTOCLAIM; zero or less where one is due."""
        return self._claim_at - now

    def claim_now(self) -> None:
        """Scan the whole stream again at the next read: a member has given entries back."""
        self._claim_at = CLAIM_AT_ONCE
        self._cursor = SCAN_START_ID

    def begin_claim(self, next_at: float) -> None:
        """Note that an XAUTOCLAIM is sent, and that the one after it is due at ``next_at``."""
        self._claim_at = next_at

    def add_claimed(self, cursor: bytes, entries: Iterable[Sequence[object] | None], now: float) -> int:
        """Put claimed entries into the fetch buffer; return how many.

        Args:
            cursor: The server's cursor: a scan that has not ended goes on at the next read.
            entries: ``[id, fields]`` each. Redis 7.0 leaves out entries that were trimmed; 6.2 sends None, or no
                fields.
            now: When the reply came.
        """
        # claim_now() was called while the request was in progress: scan again from the start.
        again = self._claim_at == CLAIM_AT_ONCE
        self._cursor = SCAN_START_ID if again else cursor
        if self._cursor != SCAN_START_ID:
            self._claim_at = CLAIM_AT_ONCE
        there = [entry for entry in entries if entry is not None and entry[1] is not None]
        return self._add(there, now, redelivered=True)

    def _add(self, entries: Iterable[Sequence[object]], now: float, *, redelivered: bool) -> int:
        waiting = {entry.id for entry in self._fetch_buffer}
        before = len(self._fetch_buffer)
        for identity, fields in entries:
            # An XAUTOCLAIM also returns entries that this consumer itself works on for long.
            known = identity in self._in_flight or identity in waiting or identity in self._acknowledged_during_read
            if not known:
                self._fetch_buffer.append(Entry(identity, fields or (), redelivered, now))  # type: ignore[arg-type]  # redis-py's replies are untyped
        return len(self._fetch_buffer) - before

    # Deliveries.

    def hand_out(self, most: int, now: float) -> list[Delivery]:
        """Move up to ``most`` entries from the fetch buffer into flight and return them as deliveries.

        An entry that was in the buffer for half of the visibility time is dropped: a member claims it like a dead
        member's.
        """
        given: list[Delivery] = []
        while self._fetch_buffer and len(given) < most:
            entry = self._fetch_buffer.popleft()
            if now - entry.at < self._visibility / 2:
                self._in_flight[entry.id] = entry.at
                given.append(self._delivery(entry))
        return given

    def _delivery(self, entry: Entry) -> Delivery:
        made = decode_message(self.address, self.group, entry.id, entry.fields, redelivered=entry.redelivered)
        return Delivery(made, self.address, self, entry.id)

    def holds(self, identity: bytes) -> bool:
        """Return whether the entry is in flight."""
        return identity in self._in_flight

    def certainly_owned(self, identity: bytes, now: float) -> bool:
        """Return whether no other member can have claimed the entry yet."""
        return now - self._in_flight.get(identity, -self._visibility) < self._visibility / 2

    def extend(self, identities: Iterable[bytes], now: float) -> None:
        """Begin the visibility time of those entries again that are in flight."""
        self._in_flight.update((one, now) for one in identities if one in self._in_flight)

    def forget(self, identities: Iterable[bytes]) -> None:
        """Take entries out of flight: they are acknowledged, or another member's."""
        for identity in identities:
            self._in_flight.pop(identity, None)
            self._acknowledged_during_read.add(identity)

    def end(self) -> None:
        """End the session: the fetch buffer and everything in flight go back to the group."""
        self._over = True
        self._in_flight.clear()
        self._fetch_buffer.clear()
