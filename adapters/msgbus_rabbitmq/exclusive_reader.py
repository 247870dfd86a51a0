"""Dead letters in hand: one channel, ONE consumer, a lock, and everything that was pushed.

Only so does a quorum queue keep its order when they go back: a second consumer on the channel, a page at a time, or a
nack shuffles it for good. And only a letter of our own, the *fence*, tells where the queue ends: it may say that it is
empty while the last holder's letters are still going back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgbus.adapter.timeouts import wait_for_event
from msgbus.errors import BrokerError, BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked
from msgbus_rabbitmq.aiormq_internals.frame_reader import consume
from msgbus_rabbitmq.codec import end_marker_of
from msgbus_rabbitmq.connection.connector import REPLY_TIMEOUT_SECONDS
from msgbus_rabbitmq.errors import translate_client_errors
from msgbus_rabbitmq.topology import declare_passive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from aiormq.abc import AbstractChannel

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["ExclusiveReader"]

PREFETCH_COUNT: Final = 20_000
"""Letters in hand at once: what they cost the server and us is about 8 kB each besides their bodies."""
SILENCE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds without a letter and without the fence; a server short of memory holds the fence back."""
CLOSE_STEP_TIMEOUT_SECONDS: Final = 3.0
"""Seconds for each of the two things waited for on leaving."""
_RETRY_INTERVAL_SECONDS: Final = 0.02
_LOCK_ARGUMENTS: Final = {"x-queue-type": "classic"}  # whatever the vhost's default: a quorum queue is never exclusive


class ExclusiveReader:
    """The letters that one consumer was pushed, in order. Used from one task.

    A letter's place is its delivery tag less one; it is None for a fence and for what was removed.
    """

    def __init__(self, link: AmqpConnection, address: Address) -> None:
        self._connection = link
        self._address = address
        self._queue = str(address)
        self._channel: AbstractChannel | None = None
        self._places: list[Delivered | None] = []
        self._end_markers: list[int] = []
        self._there = 0
        self._in_flight = 0
        self._low = 0
        self._end_marker = ""
        self._end: int | None = None
        self._wanted = 0
        self._news = asyncio.Event()
        self._gone = False

    @property
    def in_flight(self) -> int:
        """Letters that were pushed and not removed."""
        return self._in_flight

    @property
    def gone(self) -> bool:
        """The server or the network took them back."""
        return self._gone or not self._connection.is_up

    @property
    def full(self) -> bool:
        """No more come until some are removed."""
        return self._in_flight >= PREFETCH_COUNT

    @property
    def reached_end_marker(self) -> bool:
        """All that was in the queue when the walk began is in hand."""
        return self._end is not None and len(self._places) >= self._end

    async def open(self) -> None:
        """Lock the queue and consume it. Raises DeadLettersLocked, QueueNotFound, BrokerUnavailable."""
        doing = f"{self._connection.where}: cannot take the letters of queue {self._queue!r}"
        await self._connection.on_temporary_channel(
            f"queue {self._queue!r}: somebody else has its letters in hand; try again later",
            lambda channel: channel.queue_declare(
                f"{self._queue}.taker", exclusive=True, auto_delete=True, arguments=dict(_LOCK_ARGUMENTS)
            ),
        )
        if not await self._all_back(REPLY_TIMEOUT_SECONDS):
            raise DeadLettersLocked(f"queue {self._queue!r}: somebody consumes it, and not by way of msgbus")
        self._there = (await declare_passive(self._connection, self._queue))[0]
        self._channel = channel = await self._connection.channel()
        channel.closing.add_done_callback(self._lost)
        channel.on_consumer_cancel_callbacks.add(self._lost)
        await self._connection.bounded(channel.basic_qos(prefetch_count=PREFETCH_COUNT), doing)
        await self._connection.bounded(consume(channel, self._queue, self._pushed), doing)

    def expect_end_marker(self, fence: str) -> None:
        """A walk begins, and ends at this fence, which is published next: every letter of before lies in front."""
        self._end_marker, self._end = fence, None

    async def expect_no_end_marker(self) -> None:
        """The queue takes none, being full: the walk ends where it ended when we came, or what is ready now ends."""
        ready = (await declare_passive(self._connection, self._queue))[0]
        self._end_marker, self._end = "", max(self._there, len(self._places) + ready)

    async def read(self, start: int, most: int) -> Sequence[tuple[int, Delivered]]:
        """Up to ``most`` letters with their places, from ``start`` on: fewer only before the fence or a full hand.

        Raises DeadLetterLockLost, and BrokerUnavailable when nothing comes any more.
        """
        while True:
            found = list(islice(self._from(start), most))
            missing = most - len(found)
            if not missing or self.reached_end_marker or self.full:
                return found
            await self._arrival(len(self._places) + missing)

    async def complete(self) -> None:
        """Wait until the walk's last letter is in hand, or as many as can be."""
        while not (self.reached_end_marker or self.full):
            await self._arrival(len(self._places) + PREFETCH_COUNT)

    async def ready(self) -> int:
        """Letters in the queue and in nobody's hands, but the fence."""
        fence_is_out = bool(self._end_marker) and self._end is None
        return max((await declare_passive(self._connection, self._queue))[0] - fence_is_out, 0)

    async def remove(self, places: Collection[int]) -> None:
        """Acknowledge these, and hear from the server. Raises DeadLetterLockLost."""
        channel = self._check()
        await self._clear_end_markers(channel)
        mine = sorted(place for place in places if self._places[place] is not None)
        below = self._below(mine)
        try:
            with translate_client_errors(f"queue {self._queue!r}"):
                if below:
                    await channel.basic_ack(below, multiple=True, wait=False)
                for place in mine:
                    if place >= below:
                        await channel.basic_ack(place + 1, wait=False)
            await self._connection.bounded(channel.queue_declare(self._queue, passive=True), f"queue {self._queue!r}")
        except BrokerError as error:
            raise self._no_longer() from error
        for place in mine:
            self._places[place] = None
        self._in_flight -= len(mine)

    async def close(self) -> None:
        """Give back, in order, what was not removed; on return it is there for others. Never raises."""
        if self._channel is None:
            return
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(CLOSE_STEP_TIMEOUT_SECONDS):
                await self.complete()  # a fence that is left behind would be counted
                await self._clear_end_markers(self._channel)
        await self._connection.close_channel(self._channel)
        self._gone = True
        with suppress(BrokerError):
            await self._all_back(
                CLOSE_STEP_TIMEOUT_SECONDS
            )  # before the lock goes: the next one may not find an empty queue

    def _from(self, start: int) -> Iterator[tuple[int, Delivered]]:
        stop = len(self._places) if self._end is None else min(self._end, len(self._places))
        for place in range(start, stop):
            letter = self._places[place]
            if letter is not None:
                yield place, letter

    def _below(self, mine: Sequence[int]) -> int:
        """How many places from the first on are removed with ``mine``: one acknowledgement does for all of them."""
        below = 0
        for place in mine:
            while self._low < place and self._places[self._low] is None:
                self._low += 1
            if self._low != place:
                break
            self._low = below = place + 1
        return below

    def _pushed(self, delivered: Delivered) -> None:
        fence = end_marker_of(delivered)
        if fence:
            self._end_markers.append(len(self._places))
            self._end = len(self._places) if fence == self._end_marker else self._end
        else:
            self._in_flight += 1
        self._places.append(None if fence else delivered)
        if fence or self.full or self.reached_end_marker or len(self._places) >= self._wanted:
            self._news.set()

    async def _arrival(self, size: int) -> None:
        """Wait until there are ``size`` places, a fence, or no room for more."""
        before, self._wanted = len(self._places), size
        self._check()
        self._news.clear()
        await wait_for_event(SILENCE_TIMEOUT_SECONDS, self._news)
        await self._clear_end_markers(self._check())
        if len(self._places) == before:
            raise BrokerUnavailable(
                f"queue {self._queue!r}: {self._connection.where} gave no letter for {SILENCE_TIMEOUT_SECONDS:g} s"
            )

    async def _clear_end_markers(self, channel: AbstractChannel) -> None:
        """Acknowledge those in hand, ours and what killed ones left: before letters are, which may reach over them."""
        with translate_client_errors(f"queue {self._queue!r}"):
            while self._end_markers:
                await channel.basic_ack(self._end_markers.pop() + 1, wait=False)

    async def _all_back(self, seconds: float) -> bool:
        """Nobody consumes the queue: a consumer counts until the last of its letters has gone back."""
        try:
            async with asyncio.timeout(seconds):
                while (await declare_passive(self._connection, self._queue))[1]:  # noqa: ASYNC110 - a server tells nobody
                    await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
        except TimeoutError:
            return False
        return True

    def _check(self) -> AbstractChannel:
        if self.gone or self._channel is None:
            raise self._no_longer()
        return self._channel

    def _no_longer(self) -> DeadLetterLockLost:
        self._gone = True
        return DeadLetterLockLost(f"queue {self._queue!r}: its letters are no longer in hand; take them again")

    def _lost(self, _: object) -> None:
        self._gone = True
        self._news.set()
