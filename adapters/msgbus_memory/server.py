"""Server in this process: queues, their groups, and the consumers that wait for messages.

It is synchronous, so each method is one step. A server lives as long as its event loop.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_left
from collections import deque
from itertools import groupby, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from msgbus.errors import queue_not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["Entry", "Group", "Queue", "Server", "server"]

RETENTION_SECONDS: Final = 3600.0
"""Seconds that messages are kept when all groups have acknowledged them, for groups that are created later."""

_TRIM_PARTS: Final = 8
"""A log is trimmed when this fraction of it is too old: trimming moves the whole rest of the list."""

_servers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Server]] = WeakKeyDictionary()


def server(name: str) -> Server:
    """Return the server of this name in the running event loop, made if it is new. The only global registry."""
    return _servers.setdefault(asyncio.get_running_loop(), {}).setdefault(name, Server())


class Entry:
    """One message in a queue's log."""

    __slots__ = ("at", "outgoing", "place")

    def __init__(self, place: int, outgoing: Outgoing, at: float) -> None:
        self.place = place
        self.outgoing = outgoing
        self.at = at

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
        """Continue at ``place`` and forget the messages that were given back."""
        self.next = place
        self._back.clear()
        self.seen.clear()

    @property
    def lowest(self) -> int:
        """The lowest position that is not acknowledged."""
        return min((entry.place for entry in (*self.in_flight, *self._back[:1])), default=self.next)

    @property
    def lag(self) -> int:
        """Messages that are not delivered to a member, or whose member has left."""
        return self._queue.end - self.next + len(self._back)


class Queue:
    """A log of messages and its groups."""

    __slots__ = ("_lock_holder", "_log", "_removed", "first", "groups", "retention", "waiting")

    def __init__(self, retention: float) -> None:
        self.retention = retention
        self.groups: dict[str, Group] = {}
        self.waiting: deque[asyncio.Event] = deque()
        """Events of the consumers; they take turns in being set first, since the first would take everything."""
        self.first = 0
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

    def append(self, messages: Iterable[Outgoing], now: float) -> None:
        """Append messages at ``now`` (event loop time) and wake the consumers."""
        log = self._log
        log += [Entry(place, outgoing, now) for place, outgoing in enumerate(messages, self.end)]
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

    def _trim(self, before: float) -> None:
        lowest = min((group.lowest for group in self.groups.values()), default=self.first)
        old = bisect_left(self._log, before, key=lambda entry: entry.at)
        self._cut(min(old, lowest - self.first))

    def _cut(self, count: int) -> None:
        del self._log[:count]
        self.first += count


class Server:
    """The queues of one server, by address."""

    def __init__(self) -> None:
        self.queues: dict[Address, Queue] = {}
        self.refused: dict[Address, BrokerError] = {}
        """Queues that no group may consume, each with the error that its consumers get."""

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
        return self.queues.setdefault(address, Queue(RETENTION_SECONDS if retention is None else retention))

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
        return results
