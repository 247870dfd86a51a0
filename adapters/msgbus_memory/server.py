"""Server in this process: queues, their groups, and the consumers that wait for messages.

It is synchronous, so each method is one step. A server lives as long as its event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from bisect import bisect_left
from collections import deque
from itertools import groupby, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from msgbus.errors import queue_not_found
from msgbus_memory.retention import RETENTION_BYTES, RetentionBudget, evict, memory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["Entry", "Group", "Queue", "Server", "server"]

logger = logging.getLogger("msgbus.memory")

RETENTION_SECONDS: Final = 3600.0
"""Seconds that messages are kept when all groups have acknowledged them, for groups that are created later."""

_TRIM_PARTS: Final = 8
"""A log is trimmed when this fraction of it is too old: trimming moves the whole rest of the list."""

_servers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Server]] = WeakKeyDictionary()


def server(name: str, retention_bytes: int = RETENTION_BYTES) -> Server:
    """Return the server of this name in the running event loop, made if it is new. The only global registry."""
    servers = _servers.setdefault(asyncio.get_running_loop(), {})
    found = servers.get(name)
    if found is None:
        found = servers[name] = Server(retention_bytes)
    elif found.retention_bytes != retention_bytes:
        logger.warning(
            "memory://%s: retention_bytes is %d, as its first connection asked for, not %d",
            name,
            found.retention_bytes,
            retention_bytes,
        )
    return found


class Entry:
    """One message in a queue's log."""

    __slots__ = ("at", "bytes_until", "outgoing", "place", "size")

    def __init__(self, place: int, outgoing: Outgoing, at: float, size: int, bytes_until: int) -> None:
        self.place = place
        self.outgoing = outgoing
        self.at = at
        self.size = size
        """Memory of the message, in bytes."""
        self.bytes_until = bytes_until
        """Memory of all messages that the queue ever had, up to and with this one."""

    def __lt__(self, other: Entry) -> bool:
        return self.place < other.place


class Group:
    """One group of a queue: the next position, the messages that were given back, and the deliveries in flight."""

    __slots__ = ("_back", "_queue", "in_flight", "members", "name", "next", "seen")

    def __init__(self, name: str, queue: Queue, start: int) -> None:
        self.name = name
        self._queue = queue
        self.members: set[object] = set()
        self._back: list[Entry] = []
        self.in_flight: dict[Entry, object] = {}
        self.next = start
        self.seen: set[Entry] = set()

    def take(self, owner: object, most: int) -> list[Entry]:
        """Deliver up to ``most`` messages to ``owner``: first those that were given back, then new ones."""
        taken: list[Entry] = []
        while self._back and len(taken) < most:
            taken.append(heapq.heappop(self._back))
        fresh = self._queue.read(self.next, most - len(taken))
        self.next += len(fresh)
        taken += fresh
        self.in_flight.update(dict.fromkeys(taken, owner))
        return taken

    def acknowledge(self, entry: Entry, owner: object) -> None:
        """Remove ``entry`` from the deliveries in flight. Does nothing where another member owns it by now."""
        if self.in_flight.get(entry) is owner:
            del self.in_flight[entry]
            self.seen.discard(entry)
            self._queue.count_acknowledged(entry)

    def join(self, member: object) -> None:
        """Add a member."""
        self.members.add(member)

    def leave(self, member: object) -> bool:
        """Remove a member and give back its deliveries in flight. Return whether it had any."""
        self.members.discard(member)
        return self.give_back(member)

    def give_back(self, owner: object) -> bool:
        """Give back all deliveries of ``owner`` in flight, in order. Return whether it had any."""
        entries = [entry for entry, holder in self.in_flight.items() if holder is owner]
        for entry in entries:
            del self.in_flight[entry]
            self.seen.add(entry)
            heapq.heappush(self._back, entry)
        return bool(entries)

    def rewind(self, place: int) -> None:
        """Continue at ``place``. Forget messages that were given back, unless only this group still has them."""
        self._back = [entry for entry in self.kept_alone() if entry.place >= place]
        self.seen = set(self._back)
        self.next = max(place, self._queue.first)

    def kept_alone(self) -> list[Entry]:
        """Return what came back and is no longer in the log, in order: retention removes nothing unhandled."""
        return sorted(entry for entry in self._back if entry.place < self._queue.first)

    def unhandled(self) -> Iterable[Entry]:
        """Return what was handed out and is not acknowledged."""
        return (*self.in_flight, *self._back)

    @property
    def lag(self) -> int:
        """Messages that are not delivered to a member, or whose member has left."""
        return self._queue.end - self.next + len(self._back)


class Queue:
    """A log of messages and its groups."""

    __slots__ = (
        "_budget",
        "_bytes_before",
        "_for_dead_letters",
        "_lock_holder",
        "_log",
        "_removed",
        "first",
        "groups",
        "removed_until",
        "retention",
        "waiting",
    )

    def __init__(
        self, retention: float, budget: RetentionBudget | None = None, *, for_dead_letters: bool = False
    ) -> None:
        self.retention = retention
        self._budget = budget or RetentionBudget()
        self._for_dead_letters = for_dead_letters
        self.groups: dict[str, Group] = {}
        self.waiting: deque[asyncio.Event] = deque()
        """Events of the consumers; they take turns in being set first, since the first would take everything."""
        self.first = 0
        self.removed_until = 0
        """When the newest message that was removed had been published, in milliseconds since 1970."""
        self._bytes_before = 0
        """Memory of all messages that were removed."""
        self._lock_holder: object | None = None
        self._log: list[Entry] = []  # a list, not a deque: groups read at any index
        self._removed: set[Entry] = set()

    @property
    def end(self) -> int:
        """The position that the next message gets."""
        return self.first + len(self._log)

    def at(self, place: int) -> Entry:
        """Return the message at ``place``."""
        return self._log[place - self.first]

    def read(self, place: int, most: int) -> list[Entry]:
        """Return up to ``most`` messages from ``place`` on."""
        begin = place - self.first
        return self._log[begin : begin + most]

    def count_acknowledged(self, entry: Entry) -> None:
        """Count the memory of a message that a group has handled."""
        self._budget.unchecked += entry.size

    def append(self, messages: Iterable[Outgoing], now: float) -> None:
        """Append messages at ``now`` (event loop time) and wake the consumers."""
        log = self._log
        before = total = self._bytes_until(len(log))
        for place, outgoing in enumerate(messages, self.end):
            size = memory_bytes(outgoing)
            total += size
            log.append(Entry(place, outgoing, now, size, total))
        if not self.groups:
            self._budget.unchecked += total - before
        if log[len(log) // _TRIM_PARTS].at < now - self.retention:
            self._trim(now - self.retention)
        self.notify()

    def group(self, name: str, *, at_end: bool = False) -> Group:
        """Return the group; a new one is created at the oldest message that is kept, or behind the newest."""
        if name not in self.groups:
            self.groups[name] = Group(name, self, self.end if at_end else self.first)
        return self.groups[name]

    def notify(self) -> None:
        """Wake the consumers that wait for a message."""
        self.waiting.rotate()
        for event in self.waiting:
            event.set()

    # Dead-letter queues.

    def acquire_lock(self, holder: object) -> bool:
        """Acquire the lock on this dead-letter queue; False where another holder has it."""
        if self._lock_holder is None:
            self._lock_holder = holder
        return self._lock_holder is holder

    def is_locked_by(self, holder: object) -> bool:
        """Return whether ``holder`` has the lock."""
        return self._lock_holder is holder

    def release_lock(self, holder: object) -> None:
        """Release the lock, where ``holder`` has it."""
        if self._lock_holder is holder:
            self._lock_holder = None

    def dead_letters(self) -> list[Entry]:
        """Return the dead letters, oldest first."""
        return [entry for entry in self._log if entry not in self._removed]

    def remove(self, entries: set[Entry]) -> None:
        """Remove dead letters that were redriven or purged."""
        self._removed |= entries
        gone = list(takewhile(self._removed.__contains__, self._log))
        self._removed.difference_update(gone)
        self._cut(len(gone))

    # Retention: msgbus_memory.retention.Retained.

    @property
    def delivered_until(self) -> int:
        """The place below which every group was handed everything; the end where there is no group.

        A dead letter is handled only when an operator removes it.
        """
        if self._for_dead_letters:
            return self.first
        return min((group.next for group in self.groups.values()), default=self.end)

    @property
    def handled_bytes(self) -> int:
        """Memory of the messages in the log that every group has handled."""
        until = self.delivered_until
        delivered = self.bytes_between(self.first, until)
        if not delivered:
            return 0
        unhandled = {entry for group in self.groups.values() for entry in group.unhandled()}
        return delivered - sum(one.size for one in unhandled if self.first <= one.place < until)

    def appended_at(self, place: int) -> float:
        """Return when the message at ``place`` was appended (event loop time)."""
        return self.at(place).at

    def place_after(self, place: int, size: int) -> int:
        """Return the place behind at least ``size`` bytes of messages from ``place`` on, at most the end."""
        wanted = self._bytes_until(place - self.first) + size
        return min(self.first + bisect_left(self._log, wanted, key=attrgetter("bytes_until")) + 1, self.end)

    def bytes_between(self, begin: int, end: int) -> int:
        """Return the memory of the messages from ``begin`` up to ``end``, exclusive."""
        return self._bytes_until(end - self.first) - self._bytes_until(begin - self.first)

    def drop_before(self, place: int) -> None:
        """Remove what lies before ``place`` from the log. What a group still has in flight stays with the group."""
        self._cut(place - self.first)

    def _bytes_until(self, count: int) -> int:
        return self._log[count - 1].bytes_until if count else self._bytes_before

    def _trim(self, before: float) -> None:
        old = bisect_left(self._log, before, key=attrgetter("at"))
        self._cut(min(old, self.delivered_until - self.first))

    def _cut(self, count: int) -> None:
        if count:
            self._bytes_before = self._bytes_until(count)
            self.removed_until = max(self.removed_until, *(entry.outgoing.time for entry in self._log[:count]))
            del self._log[:count]
            self.first += count


class Server:
    """The queues of one server, by address."""

    def __init__(self, retention_bytes: int = RETENTION_BYTES) -> None:
        self.queues: dict[Address, Queue] = {}
        self.refused: dict[Address, BrokerError] = {}
        """Queues that no group may consume, each with the error that its consumers get."""
        self._budget = RetentionBudget(retention_bytes)

    @property
    def retention_bytes(self) -> int:
        """Memory of the handled messages that are kept, at most."""
        return self._budget.limit

    def refuse(self, address: Address, error: BrokerError | None) -> None:
        """Refuse to let groups consume a queue, also those that do; None allows it again. For tests."""
        if error is None:
            self.refused.pop(address, None)
            return
        self.refused[address] = error
        if (queue := self.queues.get(address)) is not None:
            queue.notify()

    def create(self, address: Address, retention: float | None) -> Queue:
        """Return the queue, created if it is new."""
        queue = self.queues.get(address)
        if queue is None:
            seconds = RETENTION_SECONDS if retention is None else retention
            queue = Queue(seconds, self._budget, for_dead_letters=address.is_dead_letter_queue)
            self.queues[address] = queue
        return queue

    def find(self, address: Address) -> Queue:
        """Return the queue. Raises QueueNotFound."""
        queue = self.queues.get(address)
        if queue is None:
            raise queue_not_found(address)
        return queue

    def publish(self, messages: Sequence[Outgoing]) -> list[BrokerError | None]:
        """Append each message to its queue and return the publish results."""
        now = asyncio.get_running_loop().time()
        results: list[BrokerError | None] = []
        for address, some in groupby(messages, attrgetter("address")):
            together = list(some)
            if (queue := self.queues.get(address)) is None:
                results += [queue_not_found(address) for _ in together]
            else:
                queue.append(together, now)
                results += [None] * len(together)
        self.apply_retention()
        return results

    def apply_retention(self) -> None:
        """Remove the oldest handled messages, where they may be over the limit by now."""
        if self._budget.is_due:
            evict(self.queues.values(), self._budget)
