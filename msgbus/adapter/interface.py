"""Interface of an adapter: what a package must implement to connect msgbus to one kind of server.

Adapters move bytes and decide nothing. The interface has only methods that every broker can carry out: append durably,
fetch up to n deliveries, acknowledge, say "still working", and give back unacknowledged deliveries of a member that
leaves. From these the core composes retries, delays and dead-lettering.

Rules for every method:

- **Every call is tried once.** An adapter reconnects by itself on the next call; the core decides whether there is one.
- It raises BrokerUnavailable when there is no connection or the connection broke, and AccessRefused for wrong
  credentials or missing permissions.
- It never raises an error of its client library, and never a CancelledError that is not the caller's own.
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
    from msgbus.adapter.specs import Capabilities, DeadLetterCount, Lag, Page, Position, QueueSpec, Start
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError

__all__ = ["Adapter", "Consumer", "DeadLetterStore", "HistoryReader", "SessionListener"]


class SessionListener(Protocol):
    """The core's side of sessions; an adapter's consumer calls it.

    A session is the time during which a member owns some deliveries: a Kafka partition in one generation, a RabbitMQ
    channel, a consumer name on a Redis stream. Adapters use any hashable object for it. From the call of ``ending(s)``
    or ``lost(s)`` on, ``receive()`` returns nothing of s: deliveries that were fetched and not returned are discarded.
    """

    def begun(self, session: Hashable) -> None:
        """Begin ``session``: the member owns it from now on.

        The adapter calls this before ``receive()`` returns anything of the session. Instant, no I/O.

        Args:
            session: The adapter's object for the session.
        """

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """Drain sessions that end in good order.

        The adapter awaits this, flushes the acknowledgements, and releases the sessions. Acknowledgements during the
        call count; later ones do not. An adapter may call it inside ``subscribe()`` and ``close()`` and from tasks of
        its own. It serialises calls that collide; the second call finds nothing left. The drain does not need
        ``receive()`` to run.

        Args:
            sessions: The sessions to drain; those already over are ignored.
            budget: Seconds that the drain may take. Callbacks that still run then are cancelled.
        """

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """Fence sessions that ended without a drain: nothing of them may be acknowledged any more.

        Instant, no I/O.

        Args:
            sessions: The lost sessions; those already over are ignored.
        """

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        """Report that the server refuses to deliver one queue, although the connection is there.

        The adapter has ended or lost the queue's sessions before, and leaves the queue out until a ``subscribe()``
        names it again; the core calls that after a backoff. The other queues go on. Instant, no I/O.

        Args:
            address: The queue.
            error: Why: the right was withdrawn, the queue was deleted or replaced, its channel was closed.
        """


class Consumer(ABC):
    """One general consumer for each broker object and group, over all queues that the group consumes there.

    The core calls ``receive()`` and ``subscribe()`` from one task, never at the same time, and ``close()`` after both.
    It calls ``acknowledge()``, ``extend()`` and ``wake()`` at any time.
    """

    @abstractmethod
    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Consume these queues, and only these, from now on.

        The sessions of a removed queue get ``ending()`` first; then the queue is released. Sessions of the other queues
        go on or are resumed. A change of a limit alone ends at most the sessions of that queue. A group that exists
        goes on where it was; a missing one is created.

        Args:
            limits: Unacknowledged deliveries that the consumer may hold of each queue, at most.
            newest: Queues whose group, if it has to be created, begins behind the newest message. Other new groups
                begin at the oldest message that the broker keeps.

        Returns:
            The queues that are not consumed, each with its error: QueueNotFound where it does not exist, else what the
            server refuses (a missing right, a queue of another type, a lock, a limit of the server). They are left out
            and do not delay the others. The call returns when the assignment is stable and new groups exist, after at
            most 30 s.

        Raises:
            BrokerUnavailable: There is no connection, or it broke.
            AccessRefused: The server refuses this user the group, whatever the queue.
        """

    @abstractmethod
    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Receive the next deliveries, oldest first.

        The core calls this from a single task and never cancels it. If it raises, the core treats all sessions of this
        consumer as lost, closes the consumer and opens a new one. What concerns one queue alone is no error of this
        call: the adapter tells ``SessionListener.queue_refused()``.

        Args:
            capacity: Deliveries that the caller can take, for each queue. Queues that are absent get none.
            timeout: Seconds to wait for the first delivery. Once one has arrived, return what is available.

        Returns:
            At most ``capacity[queue]`` deliveries of each queue; empty after ``timeout`` or ``wake()``. Never a
            delivery whose position is ``limit`` or more above the lowest unacknowledged position of its session.

        Raises:
            BrokerUnavailable: The connection broke.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make a ``receive()`` in progress, or else the next one, return at once: the capacity has changed.

        Instant and idempotent.
        """

    @abstractmethod
    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge deliveries: the broker shall not deliver them again.

        The adapter may delay this by 200 ms or until a quarter of the queue's limit is collected; ``ending()`` and
        ``close()`` flush it. Deliveries of sessions that are over are ignored silently.

        Args:
            deliveries: The finished deliveries, of any sessions.

        Raises:
            BrokerUnavailable: The attempt could not be made. The core may call again with the same deliveries.
        """

    @abstractmethod
    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Tell the broker that the member still works on these deliveries.

        The core calls this every ``Adapter.extend_interval_seconds`` with all in-flight deliveries, and never where
        that is None.

        Args:
            deliveries: All in-flight deliveries.

        Returns:
            Those of ``deliveries`` that no longer belong to this member.
        """

    def problem(self, address: Address) -> str:
        """Return what keeps this consumer from receiving messages of one queue, as far as it is known without I/O.

        Args:
            address: One of the subscribed queues.

        Returns:
            The problem; empty if there is none, or if ``receive()`` would raise it.
        """
        del address
        return ""

    @abstractmethod
    async def close(self, budget: float) -> None:
        """Drain every session, flush acknowledgements, and close the consumer.

        Unacknowledged deliveries go back to the broker at once, in order. Never raises; a second call does nothing.

        Args:
            budget: Seconds for the drain; 0 waits for nothing. The call returns within ``budget`` and a few seconds,
                whatever the server does.
        """


class DeadLetterStore(ABC):
    """Access to one dead-letter queue for operators: read it, take from it, remove; never consume it.

    Each dead letter is a Delivery with the address of the dead-letter queue. The ``system`` headers of its message hold
    msgbus' own headers, ``msgbus-letter`` among them. A cursor is the second value of a :class:`Page`; it is valid
    for this object only. The store is used from one task. Dead letters that are published meanwhile may appear in the
    current walk, or else in the next.
    """

    @abstractmethod
    async def count(self) -> DeadLetterCount | tuple[int, bool]:
        """Count the dead letters.

        Returns:
            A :class:`DeadLetterCount`, or a plain tuple of its two values.

        Raises:
            QueueNotFound: The dead-letter queue does not exist.
        """

    @abstractmethod
    async def look(self, after: Hashable | None, limit: int) -> Page | tuple[Sequence[Delivery], Hashable | None]:
        """Read the next dead letters, oldest first, without changing anything permanently.

        Neither the order of the queue nor a counter that could drop a dead letter may change.

        Args:
            after: The cursor of the previous page; None begins at the oldest dead letter.
            limit: Dead letters in the page, at most.

        Returns:
            A :class:`Page`, or a plain tuple of its two values.

        Raises:
            QueueNotFound: The dead-letter queue does not exist.
            DeadLettersLocked: Another lock holder has the dead letters. An adapter never returns an empty page instead.
        """

    @abstractmethod
    async def take(self, after: Hashable | None, limit: int) -> Page | tuple[Sequence[Delivery], Hashable | None]:
        """Read the next dead letters as ``look()`` does, and lock them, so that this object may remove them.

        Args:
            after: The cursor of the previous page; None begins at the oldest dead letter.
            limit: Dead letters in the page, at most.

        Returns:
            A :class:`Page`, or a plain tuple of its two values.

        Raises:
            QueueNotFound: The dead-letter queue does not exist.
            DeadLettersLocked: Another lock holder has the dead letters.
        """

    @abstractmethod
    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Delete dead letters permanently.

        Args:
            letters: Dead letters that this object took.

        Raises:
            DeadLetterLockLost: The lock was lost; nothing was removed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release the lock: dead letters that were taken and not removed are available at once, in their order.

        Never raises; idempotent.
        """


class HistoryReader(ABC):
    """Reader of a range of the messages that a queue has kept. It uses no group and changes nothing.

    The reader is used from one task.
    """

    @abstractmethod
    async def read(self, limit: int) -> Sequence[Delivery]:
        """Read the next messages, in order within each partition.

        Args:
            limit: Messages to return, at most.

        Returns:
            The messages; empty at the end of the range.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release the reader's resources. Never raises; idempotent."""


class Adapter(ABC):
    """Connection to one kind of server.

    ``connect()`` finds adapters through the entry-point group ``msgbus.adapters``, by URL scheme.
    """

    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[AdapterOptions]]
    """The URL parameters of this adapter."""
    extend_interval_seconds: float | None = None
    """Seconds between two ``extend()`` calls (Redis: a third of the visibility time); None where nothing expires."""
    change_delay_seconds: float = 0.0
    """Seconds without another change after which changed subscriptions are applied. Kafka needs a delay: each change
    is a rebalance that pauses the whole group. 0 where a change is cheap."""
    supported_starts: AbstractSet[Start] = frozenset({"oldest", "newest"})
    """Where a new group can begin; ``consume()`` refuses any other ``start``."""

    @abstractmethod
    def __init__(self, url: BrokerURL, options: AdapterOptions) -> None:
        """Check the URL. No I/O.

        Args:
            url: Where the server is.
            options: An instance of ``Options``.

        Raises:
            ConfigurationError: The URL or an option does not fit this adapter.
        """

    @abstractmethod
    async def connect(self) -> None:
        """Connect to the server and log in, once.

        Raises:
            BrokerUnavailable: The server cannot be reached; the text names the host.
            AccessRefused: The server refuses the login; the text names the host.
        """

    async def ping(self) -> str:
        """Check by one cheap round trip whether the server answers.

        The round trip changes nothing and needs no permission of its own. It connects if there is no connection. This
        default implementation checks no more than ``connect()`` does.

        Returns:
            What keeps the server from accepting messages although it answers, in words; empty if nothing does.

        Raises:
            BrokerUnavailable: As :meth:`connect`.
            AccessRefused: As :meth:`connect`.
        """
        await self.connect()
        return ""

    async def diagnose(self) -> Diagnosis:
        """Look for settings of the server that endanger messages. Changes nothing.

        ``connect()`` logs the same findings as warnings. This default implementation looks at nothing.

        Returns:
            What the server is, and the findings.

        Raises:
            BrokerUnavailable: As :meth:`connect`.
            AccessRefused: As :meth:`connect`, unless the missing permission is a finding.
        """
        await self.connect()
        return Diagnosis("a server", (Finding("note", "this adapter knows no settings to look at"),))

    @abstractmethod
    async def close(self) -> None:
        """Close every connection within a few seconds, whatever the server does. Never raises; idempotent."""

    @abstractmethod
    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Create queues and their groups together. Idempotent; on return every client sees them.

        Args:
            specs: The queues, with their groups and settings.

        Raises:
            QueueConflict: A queue exists with other settings. The text names each; the queue is left as it is.
            Unsupported: The server cannot honour a setting; nothing was created.
        """

    @abstractmethod
    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Append messages durably. The core calls this concurrently.

        Messages of one key keep their order. The call does not raise for a single message. It returns when no attempt
        of these messages can still arrive late, or after ``timeout``.

        Args:
            messages: The messages. The same object in a later call is another try of the same publish.
            timeout: Seconds after which the call returns in any case.

        Returns:
            One publish result for each message, in order; None when the server has confirmed it. The core repeats
            BrokerUnavailable, with ``uncertain=True`` when the connection broke after sending. It does not repeat
            QueueNotFound, NoRoute, MessageTooLarge, AccessRefused, and PublishUnknown (the time is over and the message
            may still arrive).
        """

    @abstractmethod
    async def lag(self, address: Address, group: str) -> Lag:
        """Count the messages of a queue that were not yet delivered to any member of a group.

        Args:
            address: The queue.
            group: The group; it need not exist.

        Returns:
            The count, in total and for each partition where there are any.

        Raises:
            QueueNotFound: The queue does not exist.
        """

    @abstractmethod
    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Open a consumer that is subscribed to nothing yet. Consumers of several groups may be open at once.

        Args:
            group: The group to consume in.
            listener: The core's side of the consumer's sessions.

        Returns:
            The consumer.
        """

    @abstractmethod
    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Open a dead-letter queue for an operator.

        Args:
            address: The dead-letter queue (``address.is_dead_letter_queue``).

        Returns:
            The store; the caller closes it.
        """

    async def rewind(self, address: Address, group: str, to: Position) -> None:
        """Make ``group`` go on at ``to``, before or behind its current position. Other groups are not affected.

        A group that does not exist is created there. In-flight deliveries of former members are forgotten; the group's
        retry queues stay. This default implementation is for brokers that keep no history.

        Args:
            address: The queue.
            group: The group.
            to: Where the group goes on.

        Raises:
            GroupActive: The group has members; the text names them.
            QueueNotFound: The queue does not exist.
            ConfigurationError: This broker cannot read the position.
            Unsupported: The broker keeps no history.
        """
        raise Unsupported(f"queue {address}, group {group}: this broker cannot rewind to {to}: it keeps no history")

    async def open_history(
        self, address: Address, group: str, since: Position, until: Position | None
    ) -> HistoryReader:
        """Open a range of the messages that a queue has kept.

        This default implementation is for brokers that keep no history.

        Args:
            address: The queue.
            group: The group that the messages are read for; it is set in each message.
            since: The first message of the range.
            until: The end of the range, exclusive; None is behind the message that is the newest now.

        Returns:
            The reader; the caller closes it.

        Raises:
            QueueNotFound: The queue does not exist.
            ConfigurationError: This broker cannot read a position.
            Unsupported: The broker keeps no history.
        """
        raise Unsupported(
            f"queue {address}, group {group}: this broker cannot replay {since} to {until}: it keeps no history"
        )
