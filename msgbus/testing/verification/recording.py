"""Recorded broker: writes down publish results, hand-overs, and begins and ends of callbacks.

The core does not know that it is recorded: publishes pass a connection class of this module, callbacks are wrapped, and
all other events are watched at the adapter's boundary.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any

from msgbus.adapter.envelope import parse_number
from msgbus.adapter.headers import ATTEMPTS, CONTENT_TYPE, NOT_BEFORE, RESERVED_PREFIX
from msgbus.adapter.url import BrokerURL
from msgbus.broker import Broker
from msgbus.connection import BrokerConnection
from msgbus.consuming.group_members import GroupMembers
from msgbus.errors import BrokerUnavailable, PublishUnknown
from msgbus.outage_errors import network_failure
from msgbus.registry import adapter_type
from msgbus.settings import load
from msgbus.testing.intercepting_adapter import Passing, Point, WatchedAdapter
from msgbus.testing.verification.events import Event, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
    from random import Random

    from msgbus.adapter import Adapter, QueueSpec
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.errors import BrokerError
    from msgbus.message import Message
    from msgbus.subscription import Callback, Subscription

__all__ = ["EventWriter", "RecordedBroker", "recorded"]


def recorded(
    url: str, writer: EventWriter, *, group: str = "", clock: Callable[[], float] = time.time, **settings: Any
) -> RecordedBroker:
    """Make a recorded broker as ``connect()`` makes an unrecorded one.

    Args:
        url: Where the server is.
        writer: Records the events of the broker.
        group: Default group of ``consume()``.
        clock: Returns the time of day, in seconds since 1970 (UTC).
        **settings: Further settings of ``connect()``.

    Returns:
        The broker, which is not started.

    Raises:
        ConfigurationError: The URL or a setting is wrong, or no adapter has this URL scheme.
    """
    parsed = BrokerURL.parse(url)
    kind = adapter_type(parsed.scheme)
    core, options = load(parsed.scheme, kind.Options, parsed.params, {**settings, "group": group})
    adapter = kind(parsed, options)
    return RecordedBroker(adapter, writer, group=core.group, deadline=core.deadline, grace=core.grace, clock=clock)


class RecordedBroker(Broker):
    """A broker whose events ``writer`` records."""

    def __init__(self, adapter: Adapter, writer: EventWriter, **settings: Any) -> None:
        """Make a broker.

        Args:
            adapter: The connection to the server.
            writer: Records the events of the broker.
            **settings: Further arguments of :class:`Broker`.
        """
        self.watched = WatchedAdapter(adapter, writer.passing)
        super().__init__(self.watched, **settings)
        self.writer = writer
        self._connection = RecordedConnection(self.watched, self.deadline, self._random, writer)
        self._members = RecordedGroupMembers(self.watched, self._random, self._clock, writer)


class RecordedGroupMembers(GroupMembers):
    """Group members whose callbacks are recorded."""

    def __init__(self, adapter: Adapter, random: Random, clock: Callable[[], float], writer: EventWriter) -> None:
        super().__init__(adapter, random, clock)
        self._writer = writer

    def add(self, subscription: Subscription) -> None:
        """Implement :meth:`GroupMembers.add`."""
        subscription.callback = self._writer.around(subscription.callback)
        super().add(subscription)


class RecordedConnection(BrokerConnection):
    """A connection that records publishes and redrives with their results."""

    def __init__(self, adapter: Adapter, deadline: float, random: Random, writer: EventWriter) -> None:
        super().__init__(adapter, deadline, random)
        self._writer = writer

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        """Implement :meth:`BrokerConnection.publish`."""
        call = self._writer.invoked(messages)
        verdicts: Sequence[BaseException | None] = [PublishUnknown("the publish was cancelled")] * len(messages)
        try:
            answer = await super().publish(messages)
        except Exception as error:
            verdicts = [error] * len(messages)
            raise
        else:
            verdicts = answer
            return answer
        finally:
            self._writer.completed(call, messages, verdicts)


class EventWriter:
    """Records what one member does, under its unique name ``member``."""

    def __init__(
        self, member: str, write: Callable[[Event], None], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Make a writer.

        Args:
            member: Name of the member, unique in a recording.
            write: Takes each event: a :class:`Recorder`, or a list's ``append``.
            clock: Returns the time in nanoseconds, by one clock for all processes of a recording.
        """
        self.member = member
        self._write = write
        self._clock = clock
        self._calls = count(1)
        self._sessions: dict[Hashable, str] = {}
        self._in_flight: dict[Delivery, int] = {}

    def note(self, kind: Kind, **fields: Any) -> None:
        """Record an event that happens now.

        Args:
            kind: The kind of event.
            **fields: Further fields of :class:`Event`.
        """
        self._write(Event(at=self._clock(), kind=kind, member=self.member, **fields))

    @contextmanager
    def fault(self, name: str, *members: str) -> Generator[None]:
        """Record a fault that lasts while the block runs.

        Args:
            name: The fault.
            *members: The members that it hits; none given: all.

        Yields:
            Once, for the block.
        """
        call = next(self._calls)
        self.note(Kind.FAULT, call=call, detail=name, members=members)
        try:
            yield
        finally:
            self.note(Kind.OVER, call=call)

    # Publishing.

    def invoked(self, messages: Sequence[Outgoing]) -> int:
        """Record that a publish begins.

        Args:
            messages: The messages.

        Returns:
            The number of the call, for ``completed()``.
        """
        call = next(self._calls)
        for one in messages:
            sent_back = bool(one.address.part)
            self.note(
                Kind.REDRIVEN if sent_back else Kind.INVOKED,
                **_outgoing(one),
                call=call,
                content=_checksum(one.body, one.key, one.headers),
                delayed=NOT_BEFORE in one.headers,
            )
        return call

    def completed(self, call: int, messages: Sequence[Outgoing], verdicts: Sequence[BaseException | None]) -> None:
        """Record the results of a publish.

        Args:
            call: The number of the call.
            messages: Its messages.
            verdicts: The publish result of each message.
        """
        for one, verdict in zip(messages, verdicts, strict=True):
            if not one.address.part:
                detail = "" if verdict is None else type(verdict).__name__
                self.note(_result_text(verdict), **_outgoing(one), call=call, detail=detail)

    # Callbacks.

    def around(self, callback: Callback) -> Callback:
        """Wrap a callback so that its calls are recorded.

        Args:
            callback: The callback.

        Returns:
            The callback to consume with.
        """

        async def called(message: Message) -> None:
            call = next(self._calls)
            fields = {"queue": message.queue, "group": message.group, "id": _text(message.id), "call": call}
            fields |= {"key": _key(message.key), "attempt": message.attempt}
            self.note(Kind.CALLED, **fields, content=_received(message))
            try:
                await callback(message)
            except BaseException as error:
                self.note(_end(error), **fields, detail=type(error).__name__, outage=network_failure(error))
                raise
            self.note(Kind.RETURNED, **fields)

        return called

    # The adapter's boundary: see msgbus.testing.intercepting_adapter.

    def passing(self, what: Passing) -> None:
        """Record what passes a point of the boundary.

        Args:
            what: The point, with the messages or sessions that pass it.
        """
        if what.point is Point.CREATED:
            self._exist(what.specs)
        elif what.point is Point.SUBSCRIBED:
            self._reached(what.addresses, what.group)
        elif what.point is Point.PUBLISHING:
            self._copying(what.messages)
        elif what.point is Point.PUBLISHED:
            self._copied(what.messages, what.verdicts)
        elif (kind := _OF_DELIVERIES.get(what.point)) is not None:
            for delivery in what.deliveries:
                self.note(kind, **self._delivery(delivery), call=self._hand(kind, delivery))
        elif (kind := _OF_SESSIONS.get(what.point)) is not None:
            for session in what.sessions:
                self.note(kind, group=what.group, session=self._session(session))

    def _exist(self, specs: Sequence[QueueSpec]) -> None:
        for spec in specs:
            for group in () if spec.address.part else spec.groups:
                ordered = spec.partitions is not None
                self.note(Kind.EXISTS, queue=spec.address.queue, group=group, ordered=ordered)

    def _reached(self, addresses: Sequence[Address], group: str) -> None:
        for address in addresses:
            if not address.part:
                self.note(Kind.EXISTS, queue=address.queue, group=group)

    def _copying(self, messages: Sequence[Outgoing]) -> None:
        for one in messages:
            if one.address.part:
                self.note(Kind.FORWARDING, **_outgoing(one), attempt=_attempt(one))

    def _copied(self, messages: Sequence[Outgoing], verdicts: Sequence[BrokerError | None]) -> None:
        for one, verdict in zip(messages, verdicts, strict=True):
            if one.address.part and verdict is None:
                kind = Kind.DEAD_LETTERED if one.address.part == "dlq" else Kind.RETRIED
                self.note(kind, **_outgoing(one), attempt=_attempt(one))

    def _delivery(self, delivery: Delivery) -> Mapping[str, Any]:
        address, message = delivery.address, delivery.message
        return {
            "queue": address.queue,
            "group": message.group,
            "part": address.part,
            "id": _text(message.id),
            "key": _key(message.key),
            "session": self._session(delivery.session),
            "origin": message.origin,
            "position": delivery.position,
        }

    def _hand(self, kind: Kind, delivery: Delivery) -> int:
        if kind is Kind.HANDED:
            return self._in_flight.setdefault(delivery, next(self._calls))
        return self._in_flight.pop(delivery, 0)

    def _session(self, session: Hashable) -> str:
        return self._sessions.setdefault(session, f"{self.member}/{len(self._sessions) + 1}")


_OF_DELIVERIES = {
    Point.RECEIVED: Kind.HANDED,
    Point.ACKNOWLEDGED: Kind.SETTLED,
    Point.TAKEN: Kind.HANDED,
    Point.REMOVED: Kind.SETTLED,
}
_OF_SESSIONS = {
    Point.BEGUN: Kind.ASSIGNED,
    Point.ENDING: Kind.DRAINING,
    Point.ENDED: Kind.REVOKED,
    Point.LOST: Kind.LOST,
}


def _result_text(verdict: BaseException | None) -> Kind:
    if verdict is None:
        return Kind.CONFIRMED
    unsure = isinstance(verdict, PublishUnknown) or (isinstance(verdict, BrokerUnavailable) and verdict.uncertain)
    return Kind.UNKNOWN if unsure else Kind.FAILED


def _end(error: BaseException) -> Kind:
    task = asyncio.current_task()
    told_to_end = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    return Kind.CANCELLED if told_to_end else Kind.RAISED


def _outgoing(one: Outgoing) -> dict[str, Any]:
    address = one.address
    place = {"queue": address.queue, "group": address.group, "part": address.part}
    return {**place, "id": _text(one.id), "key": _key(one.key)}


def _attempt(one: Outgoing) -> int:
    """Return the failed attempts of a dead letter, or the next attempt of another copy."""
    failed = parse_number(one.headers.get(ATTEMPTS, ""), 0)
    return failed if one.address.part == "dlq" else failed + 1


def _received(message: Message) -> str:
    of_content = {CONTENT_TYPE: message.content_type} if message.content_type else {}
    return _checksum(message.body, message.key, {**message.headers, **of_content})


def _checksum(body: bytes, key: str | None, headers: Mapping[str, str]) -> str:
    users = sorted((name, text) for name, text in headers.items() if not name.startswith(RESERVED_PREFIX))
    sum_of_all = blake2b(body, digest_size=8)
    sum_of_all.update(repr((key, users)).encode("utf-8", "backslashreplace"))
    return sum_of_all.hexdigest()


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # JSON cannot carry lone surrogates


def _key(key: str | None) -> str | None:
    return None if key is None else _text(key)
