"""Partition sessions: a partition in one generation, its fetch buffer and its watermark. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from msgbus.adapter.envelope import Delivery
from msgbus.adapter.watermark import Watermark
from msgbus_kafka.codec import decode_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiokafka.structs import TopicPartition

    from msgbus.adapter.address import Address
    from msgbus_kafka.client_types.records import Fetched, FetchedRecord
    from msgbus_kafka.offset_continuity import OffsetGap

__all__ = ["PartitionSession", "PartitionSessions"]

MAX_BUFFERED_RECORDS: Final = 1000
"""Records in the fetch buffer at which a partition is fetched no more: 0.1 s of the fastest callbacks."""
MAX_BUFFERED_BYTES: Final = 1024 * 1024
MAX_UNCOMMITTED_OFFSETS: Final = 10_000
"""Offsets of a partition that may be handed out and not committed: 0.2 s of the fastest callbacks."""


class PartitionSession:
    """One assigned partition in one generation; the identity of the object fences late acknowledgements.

    ``live``: its records may be handed out. ``over``: acknowledgements of its records no longer count.
    """

    __slots__ = (
        "_bytes",
        "_committed",
        "_fetch_buffer",
        "_watermark",
        "address",
        "dirty",
        "explained_until",
        "limit",
        "live",
        "max_records",
        "over",
        "partition",
        "problem",
        "reached",
        "refetched_gap",
        "refusals",
        "retry_at",
        "suspect_records",
    )

    def __init__(self, partition: TopicPartition, address: Address, limit: int) -> None:
        self.partition = partition
        self.address = address
        self.limit = limit
        self.live = True
        self.over = False
        self.dirty = False
        self.max_records: int | None = None
        """Records per fetch, if this partition is fetched by calls of its own; 0: none, it is paused."""
        self.suspect_records = 0
        """Records that have to be read before this partition is fetched together with others again."""
        self.problem = ""
        """Why this partition is not fetched; empty: it is."""
        self.refusals = 0
        """Times in a row that the broker has refused to give records of it."""
        self.retry_at = 0.0
        """When to try again, by the event loop's time; 0: never."""
        self.reached = -1
        """The highest offset that was fetched."""
        self.explained_until = -1
        """Up to here the log is known to have nothing behind ``reached``."""
        self.refetched_gap: OffsetGap | None = None
        """A gap that was fetched again; if it comes once more, it is the log's own."""
        self._committed = 0
        """Up to here everything is committed, or nothing was handed out yet."""
        self._fetch_buffer: deque[FetchedRecord] = deque()
        self._bytes = 0
        self._watermark = Watermark(0)

    def __repr__(self) -> str:
        return f"<session of {self.partition.topic}-{self.partition.partition} at {self.position}>"

    @property
    def position(self) -> int:
        """The offset to commit once ``dirty`` is set: all offsets below it are acknowledged."""
        return self._watermark.position

    @property
    def wants_more(self) -> bool:
        """Whether to fetch more records of the partition."""
        return (
            self.live
            and self.max_records != 0
            and len(self._fetch_buffer) < MAX_BUFFERED_RECORDS
            and self._bytes < MAX_BUFFERED_BYTES
        )

    @property
    def next_offset(self) -> int:
        """The offset to fetch next."""
        return max(self.reached + 1, self.explained_until)

    @property
    def waiting(self) -> bool:
        """Whether the fetch buffer has records."""
        return bool(self._fetch_buffer)

    def buffer(self, records: Iterable[FetchedRecord]) -> None:
        """Add fetched ``records`` to the fetch buffer; the end of the session drops them."""
        for record in records:
            self._fetch_buffer.append(record)
            self._bytes += _size(record)
            self.reached = record.offset

    def take(self, most: int, group: str) -> list[Delivery]:
        """Take up to ``most`` deliveries, in order.

        Never a delivery ``limit`` or more above the lowest unacknowledged offset, nor 10,000 or more above the last
        commit: if commits fail for long, a crash repeats no more than that.
        """
        taken: list[Delivery] = []
        lowest = self._watermark.lowest
        while self._fetch_buffer and len(taken) < most:
            record = self._fetch_buffer[0]
            if lowest is not None:
                if record.offset >= lowest + self.limit:
                    break
            elif not self.dirty:
                self._committed = record.offset
            if record.offset >= self._committed + MAX_UNCOMMITTED_OFFSETS:
                break
            # Decoded before it is taken: an error loses no record.
            taken.append(Delivery(decode_record(record, self.address, group), self.address, self, None, record.offset))
            self._watermark.started(record.offset)
            lowest = record.offset if lowest is None else lowest
            self._fetch_buffer.popleft()
            self._bytes -= _size(record)
        return taken

    def finished(self, offset: int) -> bool:
        """Record that ``offset`` is acknowledged; return whether there is more to commit now."""
        moved = not self.over and self._watermark.finished(offset)
        self.dirty = self.dirty or moved
        return moved

    def committed(self, position: int) -> None:
        """Record that the broker has stored ``position``."""
        self._committed = position
        if position == self.position:
            self.dirty = False

    def stop(self) -> None:
        """Hand out no more; deliveries in flight may still be acknowledged."""
        self.live = False
        self._fetch_buffer.clear()
        self._bytes = 0

    def end(self) -> None:
        """Stop, and fence the acknowledgements of deliveries in flight."""
        self.stop()
        self.over = True


class PartitionSessions:
    """The sessions of one consumer, by partition and by queue."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._limits: Mapping[Address, int] = {}
        self._all: dict[TopicPartition, PartitionSession] = {}
        self._queues: dict[Address, deque[PartitionSession]] = {}
        self.hunger: Final = asyncio.Event()
        """Set when a session may want more records."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def fetchable(self) -> int:
        """The number of sessions whose partition is not paused."""
        return sum(session.max_records != 0 for session in self._all.values())

    def living(self, partition: TopicPartition) -> PartitionSession | None:
        """Return the session of ``partition`` if its records may be handed out."""
        session = self._all.get(partition)
        return session if session is not None and session.live else None

    def all(self) -> list[PartitionSession]:
        """Return the sessions that are not over."""
        return list(self._all.values())

    def limit(self, limits: Mapping[Address, int]) -> None:
        """Set the limits of new and of running sessions."""
        self._limits = dict(limits)
        for session in self._all.values():
            session.limit = limits.get(session.address, session.limit)

    def begin(self, partition: TopicPartition, address: Address) -> PartitionSession:
        """Begin a session of ``partition``."""
        session = PartitionSession(partition, address, self._limits.get(address, 1))
        self._all[partition] = session
        self._queues.setdefault(address, deque()).append(session)
        self.hunger.set()
        return session

    def end(self, sessions: Iterable[PartitionSession]) -> None:
        """End ``sessions``."""
        for session in sessions:
            session.end()
            if self._all.get(session.partition) is session:
                del self._all[session.partition]
                self._queues[session.address].remove(session)

    def buffer(self, fetched: Fetched) -> bool:
        """Give records to their sessions and drop those of others; return whether any session got records."""
        bound = False
        for partition, records in fetched.items():
            if (session := self.living(partition)) is not None:
                session.buffer(records)
                bound = True
        return bound

    def wanting_more(self) -> list[PartitionSession]:
        """Return the sessions that want more records."""
        return [session for session in self._all.values() if session.wants_more]

    def take(self, room: Mapping[Address, int]) -> list[Delivery]:
        """Take deliveries: of each queue at most its capacity, from its partitions in turn."""
        taken: list[Delivery] = []
        for address, most in room.items():
            ring = self._queues.get(address)
            if ring:
                ring.rotate(-1)
                self._deal(ring, most, taken)
        if taken:
            self.hunger.set()
        return taken

    def _deal(self, ring: Collection[PartitionSession], room: int, taken: list[Delivery]) -> None:
        ready = [session for session in ring if session.waiting]
        while room > 0 and ready:
            share = max(1, room // len(ready))
            more: list[PartitionSession] = []
            for session in ready:
                dealt = session.take(min(share, room), self._group)
                taken += dealt
                room -= len(dealt)
                if len(dealt) == share and session.waiting:
                    more.append(session)
            ready = more


def _size(record: FetchedRecord) -> int:
    return int(max(record.serialized_value_size, 0) + max(record.serialized_key_size, 0))
