"""Broker: what services use. Create queues, publish and consume, the same on every server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from random import SystemRandom
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from msgbus.adapter import Lag, QueueSpec
from msgbus.adapter.address import group_name, queue_address, queue_name
from msgbus.arguments import check_listed, to_seconds
from msgbus.connection import BrokerConnection
from msgbus.consuming.group_members import GroupMembers
from msgbus.errors import BrokerClosed, ConfigurationError
from msgbus.failure.retry_queues import group_queues
from msgbus.health import HealthProbe
from msgbus.operations.dead_letters import DeadLetters
from msgbus.operations.history import History
from msgbus.publishing.publication import MessageBuilder, Publication
from msgbus.signals import until_told_to_stop
from msgbus.subscription import Callback, Subscription, running_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from random import Random
    from types import TracebackType

    from msgbus.adapter import Adapter, Start
    from msgbus.adapter.diagnostics import Diagnosis
    from msgbus.consuming.session_metrics import SessionCounts
    from msgbus.errors import BrokerError
    from msgbus.health import Health
    from msgbus.retry import RetryPolicy

__all__ = ["Broker"]


class Broker:
    """Messaging over one server; :func:`msgbus.connect` makes it.

    ``async with broker:`` connects and starts the subscriptions that ``consume()`` has registered. On leaving, it
    drains: running callbacks are finished and acknowledged within the grace; other deliveries go back to the server.
    ``publish()``, ``create_queue()`` and ``lag()`` connect by themselves. A broker belongs to one event loop. After
    ``close()`` it may be entered again.
    """

    def __init__(  # noqa: PLR0913 - by keyword; the last two for simulations
        self,
        adapter: Adapter,
        *,
        group: str = "",
        deadline: float = 30.0,
        grace: float = 25.0,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """Create a broker. No I/O.

        Args:
            adapter: The connection to the server.
            group: Default group of ``consume()``.
            deadline: Seconds after which every call has ended.
            grace: Seconds that running callbacks have to finish when the broker closes.
            clock: The time of day, in seconds since 1970 (UTC). Everything else goes by the event loop's time.
            random: Source of ids and of the chance in waits; default: the operating system's.
        """
        self.group = group
        self.deadline = deadline
        self.grace = grace
        self._clock = clock
        self._random = random or SystemRandom()
        self._message_builder = MessageBuilder(self._random, clock)
        self._connection = BrokerConnection(adapter, deadline, self._random)
        self._health_probe = HealthProbe(adapter, clock)
        self._members = GroupMembers(adapter, self._random, clock)
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._told_to_stop: asyncio.Event | None = None

    # Queues, publishing and consuming.

    async def create_queue(  # noqa: PLR0913 - a queue's portable settings, by keyword
        self,
        queue: str,
        *,
        exchange: str = "",
        groups: Iterable[str] = (),
        partitions: int | None = None,
        retention: float | timedelta | None = None,
        compact: bool = False,
        native: Mapping[str, str] | None = None,
    ) -> None:
        """Create a queue and its groups. Idempotent; durable on return.

        Args:
            queue: The name of the queue.
            exchange: Prefix of the queue's name.
            groups: Groups to create; each gets everything that is published from then on.
            partitions: Number of partitions, with order per key across members, where the server can; None promises no
                order across members.
            retention: How long messages are kept at least, in seconds (from 0.001) or as a timedelta; None is the
                server's default.
            compact: Whether only the newest message of each key is kept.
            native: Settings in the server's own words.

        Raises:
            InvalidName: A name is outside the grammar.
            ConfigurationError: An argument is wrong, for example ``partitions`` below 1; nothing was created.
            Unsupported: This server cannot honour a setting; nothing was created.
            QueueConflict: The queue exists with other settings; it was left as it is.
            BrokerUnavailable: The server did not answer within the deadline.
            AccessRefused: The server refuses the login or the creation.
            BrokerClosed: The broker is closed.
        """
        check_listed(f"queue {queue!r}", "groups", groups, "['billing']")
        names = tuple(group_name(group) for group in groups)
        spec = QueueSpec(
            address=queue_address(queue, exchange),
            groups=names,
            partitions=_at_least_one(queue, "partitions", partitions),
            retention=_retention(queue, retention),
            compact=_flag(queue, "compact", compact),
            native=_native(queue, native),
        )
        own = [one for name in names for one in group_queues(spec.address.queue, name, partitions)]
        await self._reach().call(f"queue {spec.address}", lambda: self._connection.adapter.create_queues((spec, *own)))
        self._members.recheck_queues()

    async def publish(  # noqa: PLR0913 - a message's fields, by keyword
        self,
        queue: str,
        body: Any,
        *,
        message_id: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        exchange: str = "",
        delay: float | timedelta | None = None,
    ) -> None:
        """Publish one message. On return every group that exists will get it.

        Ends within the broker's deadline.

        Args:
            queue: The name of the queue.
            body: bytes stay as they are, str becomes UTF-8, anything else becomes JSON. None is a tombstone: what its
                ``key`` named is gone; a compact queue forgets earlier messages of the key.
            message_id: Id by which callbacks can recognise a repetition; default: random.
            key: Messages of one key are handled one after another, in publish order.
            headers: Headers of your own; names that begin with ``msgbus-`` are refused.
            exchange: Prefix of the queue's name.
            delay: Seconds, or a timedelta, before which no group handles the message. It waits in a retry queue of each
                group.

        Raises:
            InvalidName: The queue's name is outside the grammar; nothing was sent.
            InvalidMessage: The message cannot be published as it is; nothing was sent.
            MessageTooLarge: The message is over the limit; nothing was sent.
            ConfigurationError: ``delay`` is out of range; nothing was sent.
            QueueNotFound: The queue does not exist.
            NoRoute: The queue has no group, on a server that keeps no history.
            AccessRefused: The server refuses the login or the message.
            BrokerUnavailable: The message was not published within the deadline.
            PublishUnknown: The deadline passed and the message may have arrived. Publishing it again with the same id
                is safe for callbacks that recognise ids.
            BrokerClosed: The broker is closed.
        """
        connection = self._reach()
        outgoing = self._message_builder.build(queue_address(queue, exchange), body, message_id, key, headers, delay)
        (result,) = await connection.publish((outgoing,))
        if result is not None:
            raise result

    async def publish_many(
        self, queue: str, messages: Iterable[Publication | Any], *, exchange: str = ""
    ) -> list[BrokerError | None]:
        """Publish messages in order, within one deadline for all.

        Args:
            queue: The name of the queue.
            messages: Publications; any other object is the body of a message.
            exchange: Prefix of the queue's name.

        Returns:
            One publish result for each message, in order: None when it is confirmed, else the error that ``publish()``
            would raise.

        Raises:
            InvalidName: The queue's name is outside the grammar; nothing was sent.
            InvalidMessage: A message cannot be published as it is; nothing was sent.
            MessageTooLarge: A message is over the limit of msgbus; nothing was sent.
            ConfigurationError: A delay is out of range, or ``messages`` is a single body; nothing was sent.
            BrokerUnavailable: No connection could be made within the deadline; nothing was sent.
            AccessRefused: The server refuses the login; nothing was sent.
            BrokerClosed: The broker is closed.
        """
        check_listed(f"queue {queue!r}", "messages", messages, "[Publication(…)]")
        outgoing = self._message_builder.build_many(queue_address(queue, exchange), messages)
        return list(await self._reach().publish(outgoing)) if outgoing else []

    async def consume(  # noqa: PLR0913 - by keyword
        self,
        queue: str,
        callback: Callback,
        *,
        group: str | None = None,
        exchange: str = "",
        start: Start | None = None,
        retry: RetryPolicy | None = None,
        concurrency: int = 10,
    ) -> Subscription:
        """Consume a queue: call ``callback`` with every message that is delivered to this member of the group.

        This only registers the subscription. Call it before, during or after the start, or inside a callback;
        ``Subscription.ready()`` waits until the server has assigned the queue.

        Args:
            queue: The name of the queue.
            callback: An async function of one :class:`Message`. Returning acknowledges the message.
            group: The group to consume in; default: the broker's.
            exchange: Prefix of the queue's name.
            start: Where a group begins that has never consumed the queue. None is the oldest message that the server
                keeps for it; ``"newest"`` is what is published once the subscription is ready.
            retry: What happens to a message whose callback raises: immediate retries, delayed retries, then the
                dead-letter queue.
            concurrency: Callbacks that run at the same time, at most; of each key one at a time.

        Returns:
            The subscription.

        Raises:
            InvalidName: A name is outside the grammar.
            ConfigurationError: There is no group, or an argument is wrong.
            Unsupported: This server has no such ``start``.
            DuplicateSubscription: This broker object already consumes the queue in this group.
            BrokerClosed: The broker is closed.
        """
        return self._subscribe(queue, callback, group, exchange, start, retry, concurrency)

    def consumes(  # noqa: PLR0913 - as consume()
        self,
        queue: str,
        *,
        group: str | None = None,
        exchange: str = "",
        start: Start | None = None,
        retry: RetryPolicy | None = None,
        concurrency: int = 10,
    ) -> Callable[[_Function], _Function]:
        """Return a decorator that consumes a queue with the decorated callback.

        Arguments and errors are those of :meth:`consume`.
        """

        def register(callback: _Function) -> _Function:
            self._subscribe(queue, callback, group, exchange, start, retry, concurrency)
            return callback

        return register

    async def lag(self, queue: str, *, group: str | None = None, exchange: str = "") -> Lag:
        """Count the messages of a queue that were not yet delivered to any member of a group.

        Args:
            queue: The name of the queue.
            group: The group; default: the broker's.
            exchange: Prefix of the queue's name.

        Returns:
            The count, in total and for each partition where there are any.

        Raises:
            InvalidName: A name is outside the grammar.
            ConfigurationError: There is no group.
            QueueNotFound: The queue does not exist.
            BrokerUnavailable: The server did not answer within the deadline.
            AccessRefused: The server refuses the login or the question.
            BrokerClosed: The broker is closed.
        """
        address, name = queue_address(queue, exchange), self._group(queue, group)
        return await self._reach().call(f"queue {address}", lambda: self._connection.adapter.lag(address, name))

    def dead_letters(self, queue: str, *, group: str | None = None, exchange: str = "") -> DeadLetters:
        """Return the dead letters of a queue and group, to look at, redrive or purge. No I/O.

        Args:
            queue: The name of the queue that the messages were published to.
            group: The group that gave them up; default: the broker's.
            exchange: Prefix of the queue's name.

        Raises:
            InvalidName: A name is outside the grammar.
            ConfigurationError: There is no group.
            BrokerClosed: The broker is closed.
        """
        name = self._group(queue, group)
        return DeadLetters(self._reach(), queue_name(queue, exchange), name, self._clock)

    def history(self, queue: str, *, group: str | None = None, exchange: str = "") -> History:
        """Return the history of a queue for one group, to rewind the group or to replay messages to it. No I/O.

        Args:
            queue: The name of the queue.
            group: The group; default: the broker's.
            exchange: Prefix of the queue's name.

        Raises:
            InvalidName: A name is outside the grammar.
            ConfigurationError: There is no group.
            BrokerClosed: The broker is closed.
        """
        name = self._group(queue, group)
        return History(self._reach(), queue_name(queue, exchange), name, self._clock)

    def session_counts(self, *, group: str | None = None) -> SessionCounts:
        """Return the counts of a group's sessions in this broker object. The object is live: it goes on counting.

        Args:
            group: The group; default: the broker's.

        Raises:
            InvalidName: The group's name is outside the grammar.
            ConfigurationError: There is no group.
        """
        return self._members.counts(self._group("", group))

    async def health(self, *, within: float = 2.0) -> Health:
        """Report whether this process can publish and consume now, and if not, why; for readiness probes.

        Makes one round trip to the server, connecting if there is no connection, and adds the state of each
        subscription. Never raises.

        Args:
            within: Seconds that the call takes at most.

        Returns:
            The state, with all reasons.
        """
        ending = (
            "the broker is closed"
            if self._closed
            else "the broker is being closed"
            if self._closing is not None
            else ""
        )
        return await self._health_probe.health(within, lambda: self._members.health(self._health_probe.when), ending)

    async def diagnose(self) -> Diagnosis:
        """Look for settings of the server that endanger messages. Tried once; changes nothing.

        Returns:
            What the server is, and the findings.

        Raises:
            BrokerUnavailable: The server cannot be reached.
            AccessRefused: The server refuses the login.
            ConfigurationError: msgbus cannot work with this server.
            BrokerClosed: The broker is closed.
        """
        return await self._reach().once("examining the server", self._connection.adapter.diagnose)

    # The lifecycle.

    async def __aenter__(self) -> Self:
        if self._closing is not None:
            await asyncio.shield(self._closing)
        self._closing = None
        self._closed = False
        try:
            await self._connection.ensure_connected(self._connection.deadline())
            self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self) -> None:
        """Connect, consume until SIGTERM, SIGINT or ``close()``, then drain within the grace.

        A second signal ends the grace at once. A signal that has a handler of its own, as under uvicorn, is left to it.

        Raises:
            BrokerUnavailable: No connection could be made within the deadline.
            AccessRefused: The server refuses the login.
        """
        self._told_to_stop = asyncio.Event()
        async with self:
            await until_told_to_stop(self._told_to_stop, self._members.end_grace, self.close)

    async def close(self) -> None:
        """Drain, then close the connection. Idempotent; may be called from any task.

        Other calls that have no answer within the grace end with BrokerClosed. This call returns within the grace and
        a few seconds, whatever the server does. Inside a callback it only begins to close, since closing waits for that
        callback.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="msgbus closing")
        if running_member.get(None) not in self._members.by_group.values():
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._told_to_stop is not None:
            self._told_to_stop.set()
        end = asyncio.get_running_loop().time() + self.grace
        await self._members.stop(self.grace)
        self._closed = True
        await self._health_probe.close()
        await self._connection.close(max(0.0, end - asyncio.get_running_loop().time()))  # one grace for both

    def _start(self) -> None:
        if self._closing is not None:  # nothing would stop the members that are started now
            raise BrokerClosed("the broker was closed while it was being entered; enter it again with 'async with'")
        self._members.start()

    # Shared by these methods.

    def _reach(self) -> BrokerConnection:
        if self._closed:  # until then a callback that the drain finishes may still publish
            raise BrokerClosed("the broker is closed; enter it again with 'async with'")
        return self._connection

    def _subscribe(  # noqa: PLR0913, PLR0917 - consume()'s arguments
        self,
        queue: str,
        callback: Callback,
        group: str | None,
        exchange: str,
        start: Start | None,
        retry: RetryPolicy | None,
        concurrency: int,
    ) -> Subscription:
        if self._closing is not None or self._closed:
            raise BrokerClosed(f"queue {queue!r}: the broker is closed; enter it again with 'async with'")
        address, name = queue_address(queue, exchange), self._group(queue, group)
        subscription = Subscription(address, name, callback, concurrency, retry, start)
        self._members.add(subscription)
        return subscription

    def _group(self, queue: str, group: str | None) -> str:
        name = self.group if group is None else group
        if not name and group is None:
            of_queue = f"queue {queue!r}: " if queue else ""
            raise ConfigurationError(
                f"{of_queue}no group is given; pass group= to this call or to connect(), or set MSGBUS_GROUP"
            )
        return group_name(name)


if TYPE_CHECKING:
    _Function = TypeVar("_Function", bound=Callback)


def _at_least_one(queue: str, what: str, number: object) -> int | None:
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and number >= 1):
        return number
    raise ConfigurationError(f"queue {queue!r}: {what} must be a whole number from 1, not {number!r}")


def _flag(queue: str, what: str, flag: object) -> bool:
    if not isinstance(flag, bool):
        raise ConfigurationError(f"queue {queue!r}: {what} must be True or False, not {flag!r}")
    return flag


def _native(queue: str, settings: object) -> Mapping[str, str]:
    """Return settings in the server's own words, which are text on every server."""
    if settings is None:
        return MappingProxyType({})
    given = dict(cast("Mapping[object, object]", settings)) if isinstance(settings, Mapping) else {None: None}
    if not all(isinstance(one, str) for pair in given.items() for one in pair):
        raise ConfigurationError(f"queue {queue!r}: native must map str to str, not {settings!r}")
    return MappingProxyType(cast("dict[str, str]", given))


def _retention(queue: str, retention: object) -> float | None:
    return None if retention is None else to_seconds(f"queue {queue!r}", "retention", retention, least=0.001)
