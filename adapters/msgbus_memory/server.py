"""The server: queues, groups and who waits for what. Synchronous; it lives as long as its event loop."""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_left
from collections import deque
from itertools import groupby, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from msgbus.errors import QueueNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["Entry", "Group", "Queue", "Server", "server"]

RETENTION_SECONDS: Final = 3600.0
"""Seconds that messages are kept when all groups have acknowledged them, for groups that come later."""

_TRIM_PARTS: Final = 8
"""A log is trimmed when one of so many parts of it is too old: each time all of it moves up."""

_servers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Server]] = WeakKeyDictionary()


def server(name: str) -> Server:
    """The server of this name in the running event loop. The only registry in the house."""
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
    """A group's place in a queue: what comes next, what came back, what its members hold."""

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
        """Up to ``most`` messages, now held by ``owner``: what came back before what is new."""
        taken: list[Entry] = []
        while self._back and len(taken) < most:
            taken.append(heapq.heappop(self._back))
        fresh = self._queue.read(self.next, most - len(taken))
        self.next += len(fresh)
        taken += fresh
        self.in_flight.update(dict.fromkeys(taken, owner))
        return taken

    def acknowledge(self, entry: Entry, owner: object) -> None:
        """``entry`` is done; ignored when it is not ``owner``'s any more."""
        if self.in_flight.get(entry) is owner:
            del self.in_flight[entry]
            self.seen.discard(entry)

    def give_back(self, owner: object) -> bool:
        """Everything ``owner`` holds goes back, in order; True if there was something."""
        entries = [entry for entry, holder in self.in_flight.items() if holder is owner]
        for entry in entries:
            del self.in_flight[entry]
            self.seen.add(entry)
            heapq.heappush(self._back, entry)
        return bool(entries)

    def rewind(self, place: int) -> None:
        """Go on at ``place``; what came back is forgotten."""
        self.next = place
        self._back.clear()
        self.seen.clear()

    @property
    def lowest(self) -> int:
        """The first place that is not acknowledged."""
        return min((entry.place for entry in (*self.in_flight, *self._back[:1])), default=self.next)

    @property
    def lag(self) -> int:
        """Messages that no member has been handed, or whose member left."""
        return self._queue.end - self.next + len(self._back)


class Queue:
    """A log of messages and its groups."""

    __slots__ = ("_log", "_removed", "first", "groups", "lock_holder", "retention", "waiting")

    def __init__(self, retention: float) -> None:
        self.retention = retention
        self.groups: dict[str, Group] = {}
        self.waiting: deque[asyncio.Event] = deque()
        """Each in its turn is woken first: the one that always was would take everything."""
        self.first = 0
        self.lock_holder: object | None = None
        """Who has the letters of this dead-letter queue in hand."""
        self._log: list[Entry] = []  # not a deque: what is read lies anywhere in it
        self._removed: set[Entry] = set()

    @property
    def end(self) -> int:
        """The place the next message gets."""
        return self.first + len(self._log)

    def at(self, place: int) -> Entry:
        """The message at ``place``."""
        return self._log[place - self.first]

    def read(self, place: int, most: int) -> list[Entry]:
        """Up to ``most`` messages from ``place`` on."""
        begin = place - self.first
        return self._log[begin : begin + most]

    def append(self, messages: Iterable[Outgoing], now: float) -> None:
        """Publish at ``now`` (event loop time), and wake those who wait."""
        log = self._log
        log += [Entry(place, outgoing, now) for place, outgoing in enumerate(messages, self.end)]
        if log[len(log) // _TRIM_PARTS].at < now - self.retention:
            self._trim(now - self.retention)
        self.notify()

    def group(self, name: str, *, at_end: bool = False) -> Group:
        """The group; a new one is made at the oldest message that is kept, or behind the newest."""
        if name not in self.groups:
            self.groups[name] = Group(name, self, self.end if at_end else self.first)
        return self.groups[name]

    def notify(self) -> None:
        """Wake everyone who waits for a message."""
        self.waiting.rotate()
        for event in self.waiting:
            event.set()

    def dead_letters(self) -> list[Entry]:
        """What lies in a dead-letter queue, oldest first."""
        return [entry for entry in self._log if entry not in self._removed]

    def remove(self, entries: set[Entry]) -> None:
        """These were redriven or purged."""
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
    """Queues by address."""

    def __init__(self) -> None:
        self.queues: dict[Address, Queue] = {}

    def create(self, address: Address, retention: float | None) -> Queue:
        """The queue, made if it is new."""
        return self.queues.setdefault(address, Queue(RETENTION_SECONDS if retention is None else retention))

    def find(self, address: Address) -> Queue:
        """The queue. Raises QueueNotFound."""
        queue = self.queues.get(address)
        if queue is None:
            raise _not_found(address)
        return queue

    def publish(self, messages: Sequence[Outgoing]) -> list[BrokerError | None]:
        """Append each to its queue; the verdicts."""
        now = asyncio.get_running_loop().time()
        verdicts: list[BrokerError | None] = []
        for address, some in groupby(messages, attrgetter("address")):
            together = list(some)
            if (queue := self.queues.get(address)) is None:
                verdicts += [_not_found(address) for _ in together]
            else:
                queue.append(together, now)
                verdicts += [None] * len(together)
        return verdicts


def _not_found(address: Address) -> QueueNotFound:
    return QueueNotFound(f"queue {address} does not exist; create_queue() makes it")
