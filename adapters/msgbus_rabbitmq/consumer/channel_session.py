"""A session: one channel with one consumer on one queue, and what was pushed over it and not yet acknowledged."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from aiormq.exceptions import AMQPError

from msgbus.adapter.envelope import Delivery
from msgbus_rabbitmq.aiormq_internals.frame_reader import consume
from msgbus_rabbitmq.codec import decode_message, key_and_id
from msgbus_rabbitmq.consumer.ack_batcher import AckBatcher
from msgbus_rabbitmq.consumer.expected_redeliveries import (
    DETECTED_LOSS_WAIT_SECONDS,
    UNDETECTED_LOSS_WAIT_SECONDS,
    ExpectedRedeliveries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiormq.abc import AbstractChannel

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["ChannelSession"]

logger = logging.getLogger("msgbus.rabbitmq")

OWN_CONSUMER_GRACE_SECONDS: Final = 0.2
"""Seconds that the server may still count a session of this member's own that it has left in good order."""
_RETRY_INTERVAL_SECONDS: Final = 0.02


class PushedMessage(NamedTuple):
    """What the server delivered, and when (event loop time)."""

    at: float
    delivered: Delivered

    @property
    def key(self) -> str | None:
        """See OrderedDelivery."""
        return key_and_id(self.delivered)[0]

    @property
    def id(self) -> str:
        """See OrderedDelivery."""
        return key_and_id(self.delivered)[1]

    @property
    def redelivered(self) -> bool:
        """See OrderedDelivery."""
        return self.delivered.redelivered


class ChannelSession:
    """Compared by identity: the core's fence. Delivery tags and ``multiple`` count per channel, so each has its own."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        link: AmqpConnection,
        address: Address,
        group: str,
        limit: int,
        returning: ExpectedRedeliveries | None = None,
        *,
        was_alone: bool = False,
    ) -> None:
        """``returning``: what this member's last session of the queue lost.

        ``was_alone``: nobody else consumed the queue beside that one.
        """
        self.address = address
        self.limit = limit
        self.ended = False
        """Nothing more is handed out."""
        self._idle_since: float | None = None
        self._grow_at = 0.0
        self._connection = link
        self._group = group
        self._channel: AbstractChannel | None = None
        self._pushed: deque[PushedMessage] = deque()
        self._in_flight: dict[int, PushedMessage] = {}
        self._expected = returning
        self.alone: bool | None = None
        """Nobody else consumed the queue when this began; None until then."""
        self._was_alone = was_alone
        self._newest_again = False
        self.reason = ""
        """Why the server or the network ended it."""
        self._patience = UNDETECTED_LOSS_WAIT_SECONDS
        self._acknowledging: AckBatcher[PushedMessage] = AckBatcher(limit)
        self._now = asyncio.get_running_loop().time
        self._arrived: Callable[[], None] = _nothing
        self._idle = asyncio.Event()

    @property
    def full(self) -> bool:
        """All that the server may push is in hand."""
        return len(self._in_flight) >= self.limit

    async def idle(self, within: float) -> bool:
        """Whether nothing is in hand, now or within so many seconds, while nothing is handed out."""
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
        """Messages that were pushed and not handed out."""
        return len(self._pushed)

    @property
    def has_idle_buffer(self) -> bool:
        """Messages lie here while nothing is in hand: other members could have them."""
        return bool(self._pushed) and not self._in_flight

    async def open(self, queue: str, arrived: Callable[[], None], broken: Callable[[ChannelSession], None]) -> None:
        """Consume ``queue``. ``broken`` is called, perhaps twice, when the server or the network ends it.

        Raises BrokerUnavailable.
        """
        doing = f"{self._connection.where}: cannot consume queue {queue!r}"

        def gone(what: object) -> None:
            if not self._acknowledging.over:
                self.reason, self._patience = _reason(what), _patience(what)
                broken(self)

        self._channel = channel = await self._connection.channel()
        self._acknowledging.attach(channel)
        channel.closing.add_done_callback(gone)
        channel.on_consumer_cancel_callbacks.add(gone)
        self._arrived = arrived
        self.alone = not self.address.part and await self._no_consumers(channel, queue, doing)
        await self._connection.bounded(channel.basic_qos(prefetch_count=self.limit), doing)
        await self._connection.bounded(consume(channel, queue, self._take_in), doing)
        if self._expected is not None:
            self._expected.begin(self._now())

    async def _no_consumers(self, channel: AbstractChannel, queue: str, doing: str) -> bool:
        """Whether nobody consumes ``queue``; asked until it is so for a while, where that may be our own lost session.

        The server may have sent it up to a prefetch that it never showed, and would send what is newer first. A
        consumer counts until all that it had has gone back (seen on 3.10.8 and 4.0.5), and for moments when it had
        nothing.
        """
        lost = self._expected is not None and self._expected.unseen
        until = self._now() + (
            DETECTED_LOSS_WAIT_SECONDS if lost else OWN_CONSUMER_GRACE_SECONDS if self._was_alone else 0.0
        )
        while (await self._connection.bounded(channel.queue_declare(queue, passive=True), doing)).consumer_count:
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
        """All that it may be pushed waits for what comes back, which has no room to come."""
        return self.has_idle_buffer and self._expected is not None and len(self._pushed) >= self.limit

    def take(self, room: int) -> list[Delivery]:
        """Up to ``room`` deliveries, oldest first; of each key nothing before what comes back."""
        if self.ended:
            return []
        if self._expected is not None:
            return [self._handed(one) for one in self._picked(self._expected, room)]
        return [self._handed(self._pushed.popleft()) for _ in range(min(room, len(self._pushed)))]

    def _picked(self, returning: ExpectedRedeliveries, room: int) -> list[PushedMessage]:
        if not returning.remaining_seconds(self._now()) and (lost := returning.give_up()):
            logger.warning(
                "queue %s, group %s: %d messages that were in hand when the connection broke did not come back here; "
                "what is newer of their keys goes on",
                self.address,
                self._group,
                lost,
            )
        picked = returning.pick(self._pushed, room)
        if not returning:
            self._expected = None
        return picked

    def oldest(self) -> float:
        """When the server delivered what it has waited for longest (event loop time); infinite where it waits not."""
        waiting = [next(iter(self._in_flight.values())).at] if self._in_flight else []
        if self._pushed:
            waiting.append(self._pushed[0].at)
        return min(waiting, default=math.inf)

    def redelivery_wait(self) -> float:
        """Seconds after which nothing is waited for any more."""
        return math.inf if self._expected is None else self._expected.remaining_seconds(self._now())

    def expected_redeliveries(self) -> ExpectedRedeliveries | None:
        """What its queue's next session has to wait for."""
        had = [*self._acknowledging.unsent(), *self._in_flight.values(), *self._pushed]
        if (returning := self._expected) is not None:
            returning.record_loss(had, self._patience)
        # What is given back in good order goes behind all that came back and is not out yet.
        elif self._patience or self._newest_again or any(one.redelivered for one in had):
            returning = ExpectedRedeliveries(had, self._patience or DETECTED_LOSS_WAIT_SECONDS)
        if returning is not None and self.alone is not None:
            returning.expect_unseen(expected=self.alone and self._patience > 0)
        return returning

    def _handed(self, one: PushedMessage) -> Delivery:
        tag = one.delivered.tag
        self._in_flight[tag] = one
        return Delivery(decode_message(self.address, self._group, one.delivered), self.address, self, tag)

    async def acknowledge(self, tags: Sequence[int]) -> None:
        """These are finished; silent about those that are no longer ours."""
        if self._acknowledging.over:
            return
        finished = {tag: one for tag in tags if (one := self._in_flight.pop(tag, None)) is not None}
        if not self._in_flight:
            self._idle.set()
        await self._acknowledging.finished(finished)

    def stop(self) -> None:
        """Nothing is handed out from now on.

        The consumer is not cancelled: what it was pushed and never handed out would come back before what is in hand
        (3.10.8: 20 to 23 before 2). Closing the channel gives all back in order.
        """
        self.ended = True

    async def close(self) -> None:
        """Give back, in order, what is not acknowledged. Never raises."""
        await self._acknowledging.flush()
        self.forget()
        if self._channel is not None:
            async with self._acknowledging.writing:
                in_order = await self._connection.close_channel(self._channel)
                self._patience = 0.0 if in_order else _patience(self._channel.closing)

    def forget(self) -> None:
        """It is lost or left: nothing counts any more."""
        self.ended = True
        self._acknowledging.end()


def _nothing() -> None:
    """Nobody waits yet."""


def _patience(what: object) -> float:
    """How long what it had may take to come back, by the way it ended."""
    if not isinstance(what, asyncio.Future):
        return 0.0  # the queue was deleted, and all that it had
    error = what.exception() if what.done() and not what.cancelled() else None
    told = isinstance(error, AMQPError) and (
        not isinstance(error.__cause__, OSError) or isinstance(error.__cause__, ConnectionResetError)
    )
    return DETECTED_LOSS_WAIT_SECONDS if told else UNDETECTED_LOSS_WAIT_SECONDS


def _reason(what: object) -> str:
    """In the server's words: of a channel that was closed, or of a consumer that was cancelled."""
    if not isinstance(what, asyncio.Future):
        return "the queue was deleted, or lost its leader"
    error = what.exception() if not what.cancelled() else None
    return str(error or "") or "the connection broke"
