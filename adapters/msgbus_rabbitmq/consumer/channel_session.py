"""A session: one AMQP channel with one consumer on one queue, and its deliveries that are not acknowledged yet.

    server -> _take_in() -> pushed -> take() -> in flight -> acknowledge() -> AckBatcher -> server
                              |
                              waits here for expected redeliveries of the same key

The channel is the unit of ownership. When it is closed, the server takes back, in order, all that is not acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from aio_pika.exceptions import AMQPError

from msgbus.adapter.envelope import Delivery
from msgbus_rabbitmq.aio_pika_internals.consume import consume
from msgbus_rabbitmq.codec import decode_message, key_and_id
from msgbus_rabbitmq.consumer.ack_batcher import AckBatcher
from msgbus_rabbitmq.consumer.expected_redeliveries import (
    DETECTED_LOSS_WAIT_SECONDS,
    UNDETECTED_LOSS_WAIT_SECONDS,
    ExpectedRedeliveries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.aio_pika_internals import Channel
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["ChannelSession"]

logger = logging.getLogger("msgbus.rabbitmq")

OWN_CONSUMER_GRACE_SECONDS: Final = 0.2
"""Seconds that the server may still count a consumer of this member's previous session, closed in good order."""
_RETRY_INTERVAL_SECONDS: Final = 0.02


class PushedMessage(NamedTuple):
    """A message that the server has pushed, and when it arrived (event loop time)."""

    at: float
    delivered: Delivered

    @property
    def key(self) -> str | None:
        """Implement :attr:`OrderedDelivery.key`."""
        return key_and_id(self.delivered)[0]

    @property
    def id(self) -> str:
        """Implement :attr:`OrderedDelivery.id`."""
        return key_and_id(self.delivered)[1]

    @property
    def redelivered(self) -> bool:
        """Implement :attr:`OrderedDelivery.redelivered`."""
        return self.delivered.redelivered


class ChannelSession:
    """One channel with one consumer. Sessions are compared by identity, by which the core fences lost ones.

    Delivery tags and ``multiple`` count per channel, so each session has a channel of its own.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        connection: AmqpConnection,
        address: Address,
        group: str,
        limit: int,
        expected: ExpectedRedeliveries | None = None,
        *,
        was_alone: bool = False,
    ) -> None:
        """Prepare a session; open() starts it.

        Args:
            connection: The connection for its channel.
            address: The queue.
            group: The group.
            limit: The prefetch: deliveries that may be unacknowledged.
            expected: Deliveries that this member's previous session of the queue has lost.
            was_alone: Whether that session was the queue's only consumer.
        """
        self.address = address
        self.limit = limit
        self.ended = False
        """Whether take() hands out nothing any more."""
        self._idle_since: float | None = None
        self._grow_at = 0.0
        self._connection = connection
        self._group = group
        self._channel: Channel | None = None
        self._pushed: deque[PushedMessage] = deque()
        self._in_flight: dict[int, PushedMessage] = {}
        self._expected = expected
        self.alone: bool | None = None
        """Whether the queue had no other consumer when this session began; None before."""
        self._was_alone = was_alone
        self._newest_again = False
        self.reason = ""
        """Why the server or the network has ended the session."""
        self._redelivery_seconds = UNDETECTED_LOSS_WAIT_SECONDS
        self._acknowledging: AckBatcher[PushedMessage] = AckBatcher(limit)
        self._now = asyncio.get_running_loop().time
        self._arrived: Callable[[], None] = _nothing
        self._idle = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether as many deliveries are in flight as the limit allows."""
        return len(self._in_flight) >= self.limit

    async def idle(self, within: float) -> bool:
        """Wait at most ``within`` seconds until nothing is in flight; tell whether that is so.

        The caller hands out nothing meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        return not self._in_flight

    def may_grow(self, now: float) -> bool:
        """Tell whether a raised limit may be applied now (event loop time), or again."""
        return now >= self._grow_at

    def postpone_growth(self, until: float) -> None:
        """Refuse a raised limit until ``until`` (event loop time)."""
        self._grow_at = until

    def record_idle(self, now: float, *, idle: bool) -> float:
        """Note whether deliveries lie idle here at ``now``; return the seconds for which they have done so."""
        self._idle_since = (self._idle_since or now) if idle else None
        return 0.0 if self._idle_since is None else now - self._idle_since

    @property
    def waiting(self) -> int:
        """Number of messages that were pushed and not handed out."""
        return len(self._pushed)

    @property
    def has_idle_buffer(self) -> bool:
        """Whether messages wait here while nothing is in flight, so that other members could handle them."""
        return bool(self._pushed) and not self._in_flight

    async def open(self, queue: str, arrived: Callable[[], None], broken: Callable[[ChannelSession], None]) -> None:
        """Open the channel and consume the server's ``queue``.

        Args:
            queue: Name of the quorum queue.
            arrived: Is called for each message that arrives.
            broken: Is called, perhaps twice, when the server or the network ends the session.

        Raises:
            BrokerUnavailable: The queue cannot be consumed.
        """
        doing = f"{self._connection.where}: cannot consume queue {queue!r}"

        def gone(what: object) -> None:
            if not self._acknowledging.over:
                self.reason, self._redelivery_seconds = _reason(what), _redelivery_seconds(what)
                broken(self)

        self._channel = channel = await self._connection.channel()
        self._acknowledging.attach(channel)
        channel.underlay.closing.add_done_callback(gone)
        channel.underlay.on_consumer_cancel_callbacks.add(gone)
        self._arrived = arrived
        self.alone = not self.address.part and await self._no_consumers(channel, queue, doing)
        await self._connection.bounded(channel.set_qos(prefetch_count=self.limit), doing)
        await self._connection.bounded(consume(channel, queue, self._take_in), doing)
        if self._expected is not None:
            self._expected.begin(self._now())

    async def _no_consumers(self, channel: Channel, queue: str, doing: str) -> bool:
        """Tell whether ``queue`` has no consumer; ask again for a while if this member's lost session may be one.

        The server may have sent messages to the lost session that it never showed. If this session consumed before the
        server has taken them back, it would get newer ones first. A consumer is counted until all its messages have
        gone back (seen on 3.10.8 and 4.0.5), and for a moment if it had none.
        """
        lost = self._expected is not None and self._expected.unseen
        until = self._now() + (
            DETECTED_LOSS_WAIT_SECONDS if lost else OWN_CONSUMER_GRACE_SECONDS if self._was_alone else 0.0
        )
        while (await self._connection.bounded(channel.get_queue(queue), doing)).declaration_result.consumer_count:
            if self._now() >= until:
                return False
            await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
        return True

    def _take_in(self, delivered: Delivered) -> None:
        one = PushedMessage(self._now(), delivered)
        self._pushed.append(one)
        self._newest_again = one.redelivered
        self._acknowledging.delivered(delivered.tag)
        if self._expected is not None:
            self._expected.record_arrival(one)
        self._arrived()

    @property
    def blocked_on_redelivery(self) -> bool:
        """Whether the prefetch is full of messages that wait for redeliveries, so that these cannot arrive."""
        return self.has_idle_buffer and self._expected is not None and len(self._pushed) >= self.limit

    def take(self, capacity: int) -> list[Delivery]:
        """Hand out up to ``capacity`` deliveries, oldest first; of each key none before its expected redeliveries."""
        if self.ended:
            return []
        if self._expected is not None:
            return [self._hand_out(one) for one in self._pick(self._expected, capacity)]
        return [self._hand_out(self._pushed.popleft()) for _ in range(min(capacity, len(self._pushed)))]

    def _pick(self, expected: ExpectedRedeliveries, capacity: int) -> list[PushedMessage]:
        if not expected.remaining_seconds(self._now()) and (lost := expected.give_up()):
            logger.warning(
                "queue %s, group %s: %d messages that were in flight when the connection broke were not redelivered to "
                "this member; going on with newer messages of their keys",
                self.address,
                self._group,
                lost,
            )
        picked = expected.pick(self._pushed, capacity)
        if not expected:
            self._expected = None
        return picked

    def oldest(self) -> float:
        """Return when the oldest unacknowledged message arrived (event loop time); infinity if there is none."""
        waiting = [next(iter(self._in_flight.values())).at] if self._in_flight else []
        if self._pushed:
            waiting.append(self._pushed[0].at)
        return min(waiting, default=math.inf)

    def redelivery_wait(self) -> float:
        """Return the seconds until redeliveries are given up; infinity if none is expected."""
        return math.inf if self._expected is None else self._expected.remaining_seconds(self._now())

    def expected_redeliveries(self) -> ExpectedRedeliveries | None:
        """Return what the next session of the queue has to wait for; None if nothing."""
        had = [*self._acknowledging.unsent(), *self._in_flight.values(), *self._pushed]
        if (expected := self._expected) is not None:
            expected.record_loss(had, self._redelivery_seconds)
        # Messages given back in good order go behind redelivered ones that the server has not sent yet.
        elif self._redelivery_seconds or self._newest_again or any(one.redelivered for one in had):
            expected = ExpectedRedeliveries(had, self._redelivery_seconds or DETECTED_LOSS_WAIT_SECONDS)
        if expected is not None and self.alone is not None:
            expected.expect_unseen(expected=self.alone and self._redelivery_seconds > 0)
        return expected

    def _hand_out(self, one: PushedMessage) -> Delivery:
        tag = one.delivered.tag
        self._in_flight[tag] = one
        return Delivery(decode_message(self.address, self._group, one.delivered), self.address, self, tag)

    async def acknowledge(self, tags: Sequence[int]) -> None:
        """Acknowledge the deliveries with these ``tags``; ignore those that are not in flight."""
        if self._acknowledging.over:
            return
        finished = {tag: one for tag in tags if (one := self._in_flight.pop(tag, None)) is not None}
        if not self._in_flight:
            self._idle.set()
        await self._acknowledging.finished(finished)

    def stop(self) -> None:
        """Hand out nothing from now on.

        The AMQP consumer is not cancelled: messages that were pushed and not handed out would be redelivered before
        those in flight (3.10.8: 20 to 23 before 2). Closing the channel gives all back in order.
        """
        self.ended = True

    async def close(self) -> None:
        """Send all acknowledgements, then close the channel: the server takes back the rest in order. Never raises."""
        await self._acknowledging.flush()
        self.forget()
        if self._channel is not None:
            async with self._acknowledging.writing:
                in_order = await self._connection.close_channel(self._channel)
                self._redelivery_seconds = 0.0 if in_order else _redelivery_seconds(self._channel.underlay.closing)

    def forget(self) -> None:
        """End the session without I/O: nothing is handed out or acknowledged any more."""
        self.ended = True
        self._acknowledging.end()


def _nothing() -> None:
    """Do nothing."""


def _redelivery_seconds(what: object) -> float:
    """Return how many seconds redeliveries may take, by the way in which the session ended."""
    if not isinstance(what, asyncio.Future):
        return 0.0  # the queue was deleted with all its messages
    error = what.exception() if what.done() and not what.cancelled() else None
    server_knows = isinstance(error, AMQPError) and (
        not isinstance(error.__cause__, OSError) or isinstance(error.__cause__, ConnectionResetError)
    )
    return DETECTED_LOSS_WAIT_SECONDS if server_knows else UNDETECTED_LOSS_WAIT_SECONDS


def _reason(what: object) -> str:
    """Return why the channel was closed or the consumer cancelled, in the server's words."""
    if not isinstance(what, asyncio.Future):
        return "the queue was deleted or lost its leader"
    error = what.exception() if not what.cancelled() else None
    return str(error or "") or "the connection broke"
