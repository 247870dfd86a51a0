"""The boundary: what a package must implement to speak to one kind of server.

Adapters move bytes and decide nothing. A verb stands here only if every broker has it: append durably, fetch up to n,
acknowledge, say "still working", give back on leaving what is not acknowledged. The core composes the rest.

**Every call is tried once.** An adapter connects again by itself on the next call; the core decides whether there is
one. It raises BrokerUnavailable when there is no connection, or it broke; AccessRefused for wrong credentials; never
its client's errors, and never a CancelledError that is not the caller's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

from msgbus.adapter.diagnostics import Diagnosis, Finding
from msgbus.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.adapter.options import AdapterOptions
    from msgbus.adapter.specs import Capabilities, Lag, Position, QueueSpec, Start
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError

__all__ = ["Adapter", "Consumer", "DeadLetterStore", "HistoryReader", "SessionListener"]


class SessionListener(Protocol):
    """The core's side of a session: the time during which a member owns some deliveries.

    A session is any hashable object of the adapter's (a Kafka partition in one generation, a RabbitMQ channel, a
    consumer on a Redis stream). From the call of ending(s) or lost(s) on, receive() gives nothing of s: what was
    fetched and not handed out dies with the session.
    """

    def begun(self, session: Hashable) -> None:
        """The member owns ``session`` from now on; comes before anything of it is received. Instant, no I/O."""

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """The drain: returns when what must be finished is finished, after at most ``budget`` seconds.

        The adapter awaits it, flushes acknowledgements, and lets go. Acknowledging inside it counts; after it, nothing
        does. It may be called inside subscribe() and close() and from tasks of the adapter's; two that collide are the
        adapter's to serialise, and the second finds nothing left. It does not need receive() to run.
        """

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """Too late: nothing of these sessions may be acknowledged any more. Instant, no I/O."""


class Consumer(ABC):
    """ONE general consumer per broker and group, over all its subscribed queues.

    receive() and subscribe() are called from one task, never together; close() after both; acknowledge(), extend()
    and wake() at any time.
    """

    @abstractmethod
    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> AbstractSet[Address]:
        """Consume these queues from now on, holding at most ``limits[a]`` unacknowledged deliveries of queue a.

        A new map replaces the old one. The sessions of a removed queue get ending() first and their queue is let go
        of; the others flow on or resume. A map that differs only in limits ends at most that queue's session. The
        group is made where it is missing: at the oldest message that the broker keeps, or behind the newest one for
        the queues in ``newest``; one that was there goes on where it was. Returns, when the assignment has settled
        and new groups are made (bounded, 30 s), the queues that do not exist: they are left out and cost the others
        nothing.
        """

    @abstractmethod
    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Up to ``room[a]`` deliveries of each queue a (none of a queue that is not in it), oldest first.

        Waits at most ``wait`` seconds for the first, then gives what there is. Never hands out what lies ``limit`` or
        more above its session's lowest unacknowledged position. Never cancelled by the core. When it raises, the core
        treats every session as lost, closes this consumer and opens another.
        """

    @abstractmethod
    def wake(self) -> None:
        """A receive() in progress, or the next one, returns at once: the room has changed. Instant, idempotent."""

    @abstractmethod
    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These are done: they shall not be delivered again. Silent about those that are no longer ours.

        May be carried out later, by 200 ms or a quarter of the queue's limit; ending and close flush it. Raises
        BrokerUnavailable when it could not be tried; the core may call again with the same deliveries.
        """

    @abstractmethod
    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Still working on these. Returns those that are no longer ours.

        Called every ``Adapter.extend_interval_seconds`` seconds with all that is held; never where that is None.
        """

    def problem(self) -> str:
        """What keeps this consumer from receiving, in words; empty where nothing does, or receive() would say it.

        Only what is known without asking anybody: instant, no I/O.
        """
        return ""

    @abstractmethod
    async def close(self, budget: float) -> None:
        """ending() for every session, then flush; what is not acknowledged goes back at once, in order.

        Returns within ``budget`` and a few seconds, whatever the server does, and never raises. With a budget of 0
        nothing is waited for. A second call does nothing.
        """


class DeadLetterStore(ABC):
    """A dead-letter queue under a person's hands: looked at, taken from, never consumed.

    A cursor is whatever look() or take() returned as the next one; it dies with this object. Each letter is a Delivery
    of the dead-letter queue's address; its message's ``system`` holds our headers, ``msgbus-letter`` among them.
    Used from one task. What is published to the queue meanwhile is seen by the next walk, or by this one.
    """

    @abstractmethod
    async def count(self) -> tuple[int, bool]:
        """How many letters there are, and whether the number is exact. Raises QueueNotFound."""

    @abstractmethod
    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """The next letters, at most ``limit``, oldest first, and the cursor behind them; None is the end.

        Changes nothing for good: no order, no counter that could drop a letter. DeadLettersLocked where somebody else
        has them, never an empty answer. Raises QueueNotFound.
        """

    @abstractmethod
    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """As look(), but they are this object's, to remove. One taker at a time: another gets DeadLettersLocked."""

    @abstractmethod
    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Delete letters that this object took, for good on return. Raises DeadLetterLockLost."""

    @abstractmethod
    async def close(self) -> None:
        """What was taken and not removed is there again, in its order, for others at once. Never raises, idempotent."""


class HistoryReader(ABC):
    """A stretch of what a queue has kept, read without a group: it changes nothing for anybody. Used from one task."""

    @abstractmethod
    async def read(self, limit: int) -> Sequence[Delivery]:
        """The next messages, at most ``limit``, in order within a partition; none is the end."""

    @abstractmethod
    async def close(self) -> None:
        """Let go. Never raises, idempotent."""


class Adapter(ABC):
    """One kind of server. Made by connect() through the entry-point group ``msgbus.adapters``, keyed by URL scheme."""

    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[AdapterOptions]]
    extend_interval_seconds: float | None = None
    """Seconds between two extend() calls (Redis: a third of the visibility time); None where nothing expires."""
    change_delay_seconds: float = 0.0
    """Seconds without another change after which changed subscriptions are applied, where that costs the whole group a
    pause (Kafka: a rebalance); 0 where it is cheap."""
    supported_starts: AbstractSet[Start] = frozenset({"oldest", "newest"})
    """Where a new group can begin; what is not in it, consume() refuses."""

    @abstractmethod
    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Check the URL; no I/O. ``options`` is an instance of ``Options``. Raises ConfigurationError."""

    @abstractmethod
    async def connect(self) -> None:
        """Reach the server and log in, once. Raises BrokerUnavailable or AccessRefused, both naming the host."""

    async def ping(self) -> str:
        """Whether the server answers, by one cheap round trip that changes nothing and needs no right of its own.

        Returns what keeps it from taking messages although it answers, in words, or nothing. Connects where there is no
        connection; raises as connect() does. As it stands here it asks no more than connect() asks.
        """
        await self.connect()
        return ""

    async def diagnose(self) -> Diagnosis:
        """What the server is, and what about it endangers the promise: read, not changed; warned of by connect() too.

        Raises as connect() does, but not for what is a finding. As it stands here it looks at nothing.
        """
        await self.connect()
        return Diagnosis("a server", (Finding("note", "this adapter knows no settings to look at"),))

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection, within a few seconds, whatever the server does. Never raises, idempotent."""

    @abstractmethod
    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Make these queues and their groups, together; idempotent, and visible to every client on return.

        One that exists in another shape is QueueConflict naming each setting; it is left as it is.
        """

    @abstractmethod
    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Append each durably; one verdict each, in order: None when the server has confirmed it.

        Returns when no attempt of these messages can still arrive late, or after ``timeout`` seconds. A verdict that
        the core repeats, with the same object: BrokerUnavailable (``uncertain=True`` when the connection broke after
        sending). Those it does not: QueueNotFound, NoRoute, MessageTooLarge, AccessRefused, PublishUnknown (time is
        over and it may still arrive). Does not raise for a message; messages of one key keep their order. Called
        concurrently.
        """

    @abstractmethod
    async def lag(self, address: Address, group: str) -> Lag:
        """How much of the queue has not been handed to any member of the group. Raises QueueNotFound."""

    @abstractmethod
    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """A consumer of ``group``, subscribed to nothing yet. Several may be open at once for different groups."""

    @abstractmethod
    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """The letters of the dead-letter queue ``address`` (its part is ``dlq``)."""

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Have ``group`` go on at ``to``, before or behind where it is; made if it is new. No other group notices.

        What its members had in hand is forgotten; its retry queues stay. Raises GroupActive naming the members where it
        has any, QueueNotFound, ConfigurationError for a position that this broker cannot read; Unsupported, as here,
        where it keeps no history.
        """
        raise Unsupported(f"queue {address}, group {group}: this broker cannot rewind to {to}: it keeps no history")

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """What was kept of the queue from ``since`` up to ``until``, exclusively, as messages for ``group``.

        Without ``until`` up to what is the newest now. Raises as rewind(), but for GroupActive.
        """
        raise Unsupported(
            f"queue {address}, group {group}: this broker cannot replay {since} to {until}: it keeps no history"
        )
