"""A session: one channel with one consumer on one quorum queue, what it was sent and how far that is acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from aiormq.exceptions import AMQPError

from msgbus.errors import BrokerError
from msgbus.message import Delivery
from msgbus.watermark import Watermark
from msgbus_rabbitmq.topology import server_queue
from msgbus_rabbitmq.wire import arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiormq.abc import AbstractChannel, DeliveredMessage

    from msgbus.names import Address
    from msgbus_rabbitmq.connection import Link

__all__ = ["ChannelSession"]


class ChannelSession:
    """The channel is the fence: an acknowledgement on a dead one goes nowhere."""

    def __init__(self, channel: AbstractChannel, address: Address, group: str, limit: int) -> None:
        self.address = address
        self.limit = limit
        self._channel = channel
        self._group = group
        self._tag = ""
        self._buffer: deque[DeliveredMessage] = deque()
        self._watermark = Watermark(1)
        self._lock = asyncio.Lock()
        self._ending = False

    async def begin(self, link: Link, told: Callable[[], None], broken: Callable[[ChannelSession], None]) -> None:
        """Consume. ``told`` is called when something has come, ``broken`` when nothing will come any more."""

        async def came(
            delivered: DeliveredMessage,
        ) -> None:  # nothing may fail or wait here: the client would cancel it
            if not self._ending:
                self._buffer.append(delivered)
                told()

        def ended(_: object) -> None:
            if not self._ending:
                broken(self)

        doing = f"{link.where}: cannot consume queue {server_queue(self.address, self._group)!r}"
        self._channel.closing.add_done_callback(ended)
        self._channel.on_consumer_cancel_callbacks.add(ended)
        await link.bounded(self._channel.basic_qos(prefetch_count=self.limit), doing)
        queue = server_queue(self.address, self._group)
        ok = await link.bounded(self._channel.basic_consume(queue, came), doing)
        self._tag = ok.consumer_tag or ""

    def take(self, most: int) -> list[Delivery]:
        """Up to ``most`` deliveries, oldest first."""
        taken: list[Delivery] = []
        while self._buffer and len(taken) < most:
            delivered = self._buffer[0]
            message = arrived(delivered, self.address, self._group)  # before it is taken: an error loses nothing
            tag = delivered.delivery_tag or 0
            taken.append(Delivery(message, self.address, self, tag))
            self._watermark.started(tag)
            self._buffer.popleft()
        return taken

    async def acknowledge(self, tags: Sequence[int]) -> None:
        """The finished prefix in one frame, what lies behind a gap one by one. Silent when the channel is dead."""
        async with self._lock:
            for tag in tags:
                self._watermark.finished(tag)
            prefix = [tag for tag in tags if tag < self._watermark.position]
            # The highest of *these*: one acknowledged before is unknown to the server, which closes the channel then.
            frames = [(max(prefix), True)] if prefix else []
            frames += [(tag, False) for tag in tags if tag >= self._watermark.position]
            with suppress(AMQPError, ConnectionError, RuntimeError):
                for tag, multiple in frames:
                    await self._channel.basic_ack(tag, multiple=multiple, wait=False)

    async def stop(self, link: Link) -> None:
        """Nothing more comes, and what was not handed out is forgotten: it goes back with the channel. Never raises."""
        self._ending = True
        self._buffer.clear()
        if self._tag and not self._channel.is_closed:
            with suppress(BrokerError):
                await link.bounded(self._channel.basic_cancel(self._tag), "cancelling a consumer")

    async def leave(self, link: Link) -> None:
        """Close the channel: acknowledgements written before are processed, the rest goes back in order."""
        await link.leave(self._channel)
