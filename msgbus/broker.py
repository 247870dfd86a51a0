"""What services use: three verbs and a lifecycle, the same on every server."""

from __future__ import annotations

import asyncio
import time
from random import SystemRandom
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgbus.adapter import Lag, QueueSpec
from msgbus.adapter.address import group_name, queue_address, queue_name
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
    from collections.abc import Callable, Iterable, Mapping
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
    """The broker behind one URL; connect() makes it.

    ``async with broker:`` connects, starts what consume() has registered, and on leaving drains: running callbacks are
    finished and acknowledged within the grace, the rest goes back. publish(), create_queue() and lag() connect by
    themselves. A broker belongs to one event loop; after close() it may be entered again.
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
        """``group`` is consume()'s default; ``deadline`` and ``grace`` are seconds.

        ``clock`` gives the time of day, in seconds since 1970 (UTC); all else goes by the event loop's time. ``random``
        is where ids and the chance in waits come from; default: the operating system's.
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

    # The three verbs.

    async def create_queue(  # noqa: PLR0913 - a queue's portable settings, by keyword
        self,
        queue: str,
        *,
        exchange: str = "",
        groups: Iterable[str] = (),
        partitions: int | None = None,
        retention: float | None = None,
        compact: bool = False,
        native: Mapping[str, str] | None = None,
    ) -> None:
        """Make ``queue`` and ``groups``, which get everything published from then on. Idempotent; durable on return.

        ``partitions=n`` promises order per key across members, where the server can; ``retention`` is in seconds;
        ``compact`` keeps the newest message of each key; ``native`` are settings in the server's own words. Raises
        InvalidName, Unsupported for what this server cannot honour, QueueConflict when the queue exists in another
        shape, BrokerUnavailable at the deadline, AccessRefused.
        """
        names = tuple(group_name(group) for group in groups)
        spec = QueueSpec(
            address=queue_address(queue, exchange),
            groups=names,
            partitions=_at_least_one(queue, "partitions", partitions),
            retention=retention,
            compact=compact,
            native=MappingProxyType(dict(native or {})),
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
        delay: float | None = None,
    ) -> None:
        """Publish one message; on return every group that exists will see it.

        ``body``: bytes untouched, str as UTF-8, anything else as JSON. ``message_id`` names the message for callbacks
        that recognise repetitions (default: random). Messages of one ``key`` are handled in publish order.
        ``delay``: seconds before which no group handles it; it waits in a retry queue of each. Ends by the broker's
        deadline. Raises InvalidName, InvalidMessage, MessageTooLarge, QueueNotFound, NoRoute, AccessRefused,
        BrokerUnavailable (not published), PublishUnknown (may have arrived).
        """
        link = self._reach()
        outgoing = self._message_builder.build(queue_address(queue, exchange), body, message_id, key, headers, delay)
        (verdict,) = await link.publish((outgoing,))
        if verdict is not None:
            raise verdict

    async def publish_many(
        self, queue: str, messages: Iterable[Publication | Any], *, exchange: str = ""
    ) -> list[BrokerError | None]:
        """Publish all, in order; one verdict each: None when it is confirmed, else the error publish() would raise.

        Anything that is no Publication is a body. What is wrong with a message before any I/O raises, and then none was
        sent. Ends by one deadline for all.
        """
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
        """Have ``callback`` called with every message of ``queue`` that falls to this member of ``group``.

        May be called before, during and after the start, and inside a callback: it only registers, and
        ``Subscription.ready()`` tells when the server has assigned it. At most ``concurrency`` callbacks run at once,
        one at a time of each key. What becomes of a message whose callback raises is ``retry``'s to say: tried again in
        place, then from retry queues, then dead-lettered. ``start`` is where a group begins that has never consumed
        the queue: None is the oldest message that the server keeps for it, ``"newest"`` only what is published once
        this is ready. Raises InvalidName, ConfigurationError without a group, Unsupported for a ``start`` that this
        server does not have, DuplicateSubscription, BrokerClosed.
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
        """consume() as a decorator of the callback; the same arguments and errors."""

        def register(callback: _Function) -> _Function:
            self._subscribe(queue, callback, group, exchange, start, retry, concurrency)
            return callback

        return register

    async def lag(self, queue: str, *, group: str | None = None, exchange: str = "") -> Lag:
        """How much of ``queue`` was not handed to any member of ``group``. Raises QueueNotFound, BrokerUnavailable."""
        address, name = queue_address(queue, exchange), self._group(queue, group)
        return await self._reach().call(f"queue {address}", lambda: self._connection.adapter.lag(address, name))

    def dead_letters(self, queue: str, *, group: str | None = None, exchange: str = "") -> DeadLetters:
        """The messages of ``queue`` that ``group`` has given up: to be looked at, sent back or purged."""
        name = self._group(queue, group)
        return DeadLetters(self._reach(), queue_name(queue, exchange), name, self._clock)

    def history(self, queue: str, *, group: str | None = None, exchange: str = "") -> History:
        """What ``queue`` has kept, for ``group`` once more: to rewind the group, or to replay a stretch to it."""
        name = self._group(queue, group)
        return History(self._reach(), queue_name(queue, exchange), name, self._clock)

    def session_counts(self, *, group: str | None = None) -> SessionCounts:
        """What became of ``group``'s sessions in this object, so far; it goes on counting."""
        return self._members.counts(self._group("", group))

    async def health(self, *, within: float = 2.0) -> Health:
        """Whether this process can publish and consume now, and if not, why; for readiness probes.

        One round trip to the server, connecting where there is no connection, and what is known here. Never raises, and
        never takes longer than ``within`` seconds.
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
        """What the server is, and what about it endangers the promise, for people; tried once, changes nothing.

        Raises BrokerUnavailable, AccessRefused, ConfigurationError for a server that cannot be worked with.
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
        """Connect, serve until SIGTERM, SIGINT or close(), then drain within the grace. A second signal ends the grace.

        Raises what connecting raises: BrokerUnavailable at the deadline, AccessRefused at once.
        """
        self._told_to_stop = asyncio.Event()
        async with self:
            await until_told_to_stop(self._told_to_stop, self._members.end_grace, self.close)

    async def close(self) -> None:
        """Drain and let go; calls that have no answer within the grace raise BrokerClosed. Idempotent, from anywhere.

        Returns within the grace and a few seconds, whatever the server does. Inside a callback it only begins the
        closing, which waits for that callback.
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
        if self._closing is not None:  # nobody would stop what is started now
            raise BrokerClosed("the broker was closed while it was being entered")
        self._members.start()

    # What the verbs share.

    def _reach(self) -> BrokerConnection:
        if self._closed:  # until then a callback that is being finished may still publish
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
            raise ConfigurationError(
                f"queue {queue!r}: which group? pass group= to consume() or connect(), or set MSGBUS_GROUP"
            )
        return group_name(name)


if TYPE_CHECKING:
    _Function = TypeVar("_Function", bound=Callback)


def _at_least_one(queue: str, what: str, number: int | None) -> int | None:
    if number is not None and number < 1:
        raise ConfigurationError(f"queue {queue!r}: {what} must be at least 1, not {number}")
    return number
