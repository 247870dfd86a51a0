"""The exclusive reader of a dead-letter queue: one channel with one consumer, under the dead-letter lock.

A quorum queue keeps the order of dead letters that are given back only if one consumer has them all and its channel is
closed. A second consumer on the channel, reading page by page, or a nack changes the order for good.

The end of the queue is found by an *end marker*, a message of msgbus that is published at the start of a walk. The
server's message count is no help: it may be 0 while the dead letters of the last lock holder are still going back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from tenacity import wait_fixed

from msgbus.adapter.retrying import wait_until
from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import BrokerError, BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked
from msgbus_rabbitmq.aio_pika_internals.consume import consume
from msgbus_rabbitmq.codec import end_marker_of
from msgbus_rabbitmq.connection.connector import REPLY_TIMEOUT_SECONDS
from msgbus_rabbitmq.errors import translate_client_errors
from msgbus_rabbitmq.topology import declare_passive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.aio_pika_internals import Channel
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["ExclusiveReader"]

PREFETCH_COUNT: Final = 20_000
"""Dead letters in flight at once. Each costs the server and this process about 8 kB besides its body."""
SILENCE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds to wait for a dead letter or the end marker. A server short of memory holds the end marker back."""
CLOSE_STEP_TIMEOUT_SECONDS: Final = 3.0
"""Seconds for each of the two steps that close() waits for."""
_RETRY_INTERVAL_SECONDS: Final = 0.02
_LOCK_ARGUMENTS: Final = {
    "x-queue-type": "classic"
}  # also where the vhost's default is quorum: a quorum queue is never exclusive


class ExclusiveReader:
    """Dead letters that were pushed to one consumer, in order. Used from one task.

    The place of a dead letter is its delivery tag minus one. A place is None for an end marker and for a removed one.
    """

    def __init__(self, connection: AmqpConnection, address: Address) -> None:
        self._connection = connection
        self._address = address
        self._queue = str(address)
        self._channel: Channel | None = None
        self._places: list[Delivered | None] = []
        self._end_markers: list[int] = []
        self._ready_at_open = 0
        self._in_flight = 0
        self._low = 0
        self._end_marker = ""
        self._end: int | None = None
        self._wanted = 0
        self._news = asyncio.Event()
        self._gone = False

    @property
    def in_flight(self) -> int:
        """Number of dead letters that were pushed and not removed."""
        return self._in_flight

    @property
    def gone(self) -> bool:
        """Whether the session is lost: the server has taken the dead letters back."""
        return self._gone or not self._connection.is_up

    @property
    def full(self) -> bool:
        """Whether the prefetch is full: no more are pushed until some are removed."""
        return self._in_flight >= PREFETCH_COUNT

    @property
    def reached_end_marker(self) -> bool:
        """Whether all dead letters from before the walk began have been pushed."""
        return self._end is not None and len(self._places) >= self._end

    async def open(self) -> None:
        """Take the dead-letter lock and consume the queue.

        Raises:
            DeadLettersLocked: Another lock holder, or a third-party client, consumes the queue.
            QueueNotFound: There is no such queue.
            BrokerUnavailable: The connection is lost.
        """
        doing = f"{self._connection.where}: cannot take the dead letters of queue {self._queue!r}"
        await self._connection.on_temporary_channel(
            f"queue {self._queue!r}: another client holds the dead-letter lock; try again later",
            lambda channel: channel.declare_queue(
                f"{self._queue}.taker", exclusive=True, auto_delete=True, arguments=dict(_LOCK_ARGUMENTS)
            ),
        )
        if not await self._all_back(REPLY_TIMEOUT_SECONDS):
            raise DeadLettersLocked(
                f"queue {self._queue!r}: a third-party client consumes it; stop that client and try again"
            )
        self._ready_at_open = (await declare_passive(self._connection, self._queue))[0]
        self._channel = channel = await self._connection.channel()
        channel.underlay.closing.add_done_callback(self._lost)
        channel.underlay.on_consumer_cancel_callbacks.add(self._lost)
        await self._connection.bounded(channel.set_qos(prefetch_count=PREFETCH_COUNT), doing)
        await self._connection.bounded(consume(channel, self._queue, self._pushed), doing)

    def expect_end_marker(self, marker: str) -> None:
        """Begin a walk that ends at ``marker``. The caller publishes this end marker next, behind all dead letters."""
        self._end_marker, self._end = marker, None

    async def expect_no_end_marker(self) -> None:
        """Begin a walk without an end marker, since the full queue refuses it.

        It ends at the number of messages at open(), or at those that are ready now, whichever is later.
        """
        ready = (await declare_passive(self._connection, self._queue))[0]
        self._end_marker, self._end = "", max(self._ready_at_open, len(self._places) + ready)

    async def read(self, start: int, most: int) -> Sequence[tuple[int, Delivered]]:
        """Return up to ``most`` dead letters with their places, from place ``start`` on.

        Return fewer only at the end marker or with a full prefetch.

        Raises:
            DeadLetterLockLost: The server has taken the dead letters back.
            BrokerUnavailable: Nothing arrived for ``SILENCE_TIMEOUT_SECONDS``.
        """
        while True:
            found = list(islice(self._from(start), most))
            missing = most - len(found)
            if not missing or self.reached_end_marker or self.full:
                return found
            await self._arrival(len(self._places) + missing)

    async def complete(self) -> None:
        """Wait until the last dead letter of the walk has been pushed, or the prefetch is full."""
        while not (self.reached_end_marker or self.full):
            await self._arrival(len(self._places) + PREFETCH_COUNT)

    async def ready(self) -> int:
        """Return the number of dead letters in the queue that no consumer has, without the end marker."""
        marker_is_out = bool(self._end_marker) and self._end is None
        return max((await declare_passive(self._connection, self._queue))[0] - marker_is_out, 0)

    async def remove(self, places: Collection[int]) -> None:
        """Remove dead letters for good: acknowledge them and wait for the server. Raises DeadLetterLockLost."""
        channel = self._check()
        await self._clear_end_markers(channel)
        mine = sorted(place for place in places if self._places[place] is not None)
        below = self._below(mine)
        try:
            with translate_client_errors(f"queue {self._queue!r}"):
                if below:
                    await channel.underlay.basic_ack(below, multiple=True, wait=False)
                for place in mine:
                    if place >= below:
                        await channel.underlay.basic_ack(place + 1, wait=False)
            await self._connection.bounded(channel.get_queue(self._queue), f"queue {self._queue!r}")
        except BrokerError as error:
            raise self._no_longer() from error
        for place in mine:
            self._places[place] = None
        self._in_flight -= len(mine)

    async def close(self) -> None:
        """Give back, in order, what was not removed. On return, others can take it. Never raises."""
        if self._channel is None:
            return
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(CLOSE_STEP_TIMEOUT_SECONDS):
                await self.complete()  # an end marker that stays in the queue would be counted
                await self._clear_end_markers(self._channel)
        await self._connection.close_channel(self._channel)
        self._gone = True
        with suppress(BrokerError):
            # Before the lock is released, so that the next lock holder finds all dead letters.
            await self._all_back(CLOSE_STEP_TIMEOUT_SECONDS)

    def _from(self, start: int) -> Iterator[tuple[int, Delivered]]:
        stop = len(self._places) if self._end is None else min(self._end, len(self._places))
        for place in range(start, stop):
            dead_letter = self._places[place]
            if dead_letter is not None:
                yield place, dead_letter

    def _below(self, mine: Sequence[int]) -> int:
        """Return how many places, from the first on, are removed with ``mine``: one frame acknowledges all of them."""
        below = 0
        for place in mine:
            while self._low < place and self._places[self._low] is None:
                self._low += 1
            if self._low != place:
                break
            self._low = below = place + 1
        return below

    def _pushed(self, delivered: Delivered) -> None:
        marker = end_marker_of(delivered)
        if marker:
            self._end_markers.append(len(self._places))
            self._end = len(self._places) if marker == self._end_marker else self._end
        else:
            self._in_flight += 1
        self._places.append(None if marker else delivered)
        if marker or self.full or self.reached_end_marker or len(self._places) >= self._wanted:
            self._news.set()

    async def _arrival(self, size: int) -> None:
        """Wait until there are ``size`` places, an end marker, or a full prefetch."""
        before, self._wanted = len(self._places), size
        self._check()
        self._news.clear()
        await wait_for_event(SILENCE_TIMEOUT_SECONDS, self._news)
        await self._clear_end_markers(self._check())
        if len(self._places) == before:
            raise BrokerUnavailable(
                f"queue {self._queue!r}: {self._connection.where} sent no dead letter for {SILENCE_TIMEOUT_SECONDS:g} s"
            )

    async def _clear_end_markers(self, channel: Channel) -> None:
        """Acknowledge the end markers in flight, those of killed processes as well.

        This comes before dead letters are acknowledged, since one frame may acknowledge all places up to one.
        """
        with translate_client_errors(f"queue {self._queue!r}"):
            while self._end_markers:
                await channel.underlay.basic_ack(self._end_markers.pop() + 1, wait=False)

    async def _has_no_consumer(self) -> bool:
        return not (await declare_passive(self._connection, self._queue))[1]

    async def _all_back(self, seconds: float) -> bool:
        """Wait until the queue has no consumer; return False after ``seconds``.

        A consumer is counted until the last of its dead letters has gone back.
        """
        try:
            async with asyncio.timeout(seconds):
                await wait_until(self._has_no_consumer, wait=wait_fixed(_RETRY_INTERVAL_SECONDS))
        except TimeoutError:
            return False
        return True

    def _check(self) -> Channel:
        if self.gone or self._channel is None:
            raise self._no_longer()
        return self._channel

    def _no_longer(self) -> DeadLetterLockLost:
        self._gone = True
        return DeadLetterLockLost(
            f"queue {self._queue!r}: the dead-letter lock is lost: the server took its dead letters back; "
            "take them again"
        )

    def _lost(self, _: object) -> None:
        self._gone = True
        self._news.set()
