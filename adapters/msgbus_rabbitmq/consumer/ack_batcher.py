"""Acknowledging on a channel: one frame for all up to the first that is not done, single ones behind it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from msgbus.adapter.watermark import Watermark
from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.errors import translate_client_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiormq.abc import AbstractChannel

__all__ = ["AckBatcher"]

MAX_UNSENT_ACKS: Final = 64
"""Finished messages that are acknowledged at once; an eighth of the prefetch where that is less.

Acknowledged in threes, as they end, the server sends threes: 3,200 msg/s with 1,000 in the prefetch, and 12,000 so.
"""
FLUSH_DELAY_SECONDS: Final = 0.005
"""Seconds after which fewer are acknowledged too."""

_T = TypeVar("_T")


class AckBatcher(Generic[_T]):
    """What is finished of a channel's messages, by delivery tag, and said to the server in batches."""

    def __init__(self, limit: int) -> None:
        """``limit`` is the prefetch."""
        self._channel: AbstractChannel | None = None
        self.over = False
        """The channel is lost or left: it is too late for anything."""
        self.writing: Final = asyncio.Lock()
        """Frames must go out in the order in which the watermark was asked."""
        self._enough = max(1, min(limit // 8, MAX_UNSENT_ACKS))
        self._done = Watermark(1)
        self._unsent: dict[int, _T] = {}
        self._later: asyncio.Task[None] | None = None

    def attach(self, channel: AbstractChannel) -> None:
        """Send the acknowledgements over ``channel``."""
        self._channel = channel

    def delivered(self, tag: int) -> None:
        """The server has delivered it; tags rise."""
        self._done.started(tag)

    def unsent(self) -> Iterable[_T]:
        """What is finished and not told to the server yet."""
        return self._unsent.values()

    async def finished(self, messages: Mapping[int, _T]) -> None:
        """These are done: said when they are enough, or within ``FLUSH_DELAY_SECONDS``."""
        for tag in messages:
            self._done.finished(tag)
        self._unsent.update(messages)
        if len(self._unsent) >= self._enough:
            await self.flush()
        elif self._unsent and self._later is None:
            self._later = asyncio.get_running_loop().create_task(self._flush_soon(), name="msgbus rabbitmq settling")

    async def _flush_soon(self) -> None:
        await asyncio.sleep(FLUSH_DELAY_SECONDS)
        self._later = None
        await self.flush()

    async def flush(self) -> None:
        """Say all that is finished, unless it is too late."""
        async with self.writing:
            if self._channel is None or self.over:
                return
            tags, self._unsent = sorted(self._unsent), {}
            # Not the watermark itself: the last below it may be acknowledged already, and once more is an error.
            below = max((tag for tag in tags if tag < self._done.position), default=0)
            with suppress(BrokerUnavailable), translate_client_errors("acknowledging"):
                if below:
                    await self._channel.basic_ack(below, multiple=True, wait=False)
                for tag in tags:
                    if tag > below:
                        await self._channel.basic_ack(tag, wait=False)

    def end(self) -> None:
        """Nothing is said any more."""
        self.over = True
        if self._later is not None:
            self._later.cancel()
            self._later = None
