"""The underlay connection: aiormq's connection, with its own frame reader, channel numbers and closing future.

Client: aiormq 7.2.4. Two methods with name-mangled names are replaced, so a version that renames them does not call
ours.

- ``__reader``: symptom: consuming takes 66 us of CPU per message with aiormq's own receiver of frames, 17 us with
  `FrameReader`. Test that fails without it:
  test_the_client_that_is_installed_is_read_at_once. Remove it when aiormq decodes deliveries without a task and a
  queue for each message.
- ``__handle_connection_blocked``: see `blocked`.

Two documented members are replaced, since aio-pika passes on no argument for either:

- ``channel()``: symptom: aiormq counts channel numbers up to 65,535, and the server ends the connection (530) at number
  2,048. Its frame buffer of 10 costs two turns of the event loop for three messages. Tests that fail without it:
  test_channel_numbers_are_used_again, test_one_channel_more_than_the_server_allows_costs_nobody_the_connection.
- ``closing``: symptom: each access makes a new future, so that what aio-pika adds to one cannot be removed. See
  `connection`.

`verification` checks the names, and `rehearsal` runs the frame loop once before the first connection.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import aiormq
from aio_pika.exceptions import ChannelInvalidStateError

from msgbus_rabbitmq.aio_pika_internals.blocked import decode_reason
from msgbus_rabbitmq.aio_pika_internals.frame_reader import FrameReader

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel
    from aiormq.connection import TransportFactory
    from yarl import URL

__all__ = ["Underlay"]

FRAME_BUFFER_SIZE: Final = 200
"""Frames that aiormq buffers for a channel.

With its default, 10, aiormq's own reader passed on three messages at a time, and each time cost two turns of the event
loop.
"""
MAX_CHANNEL_NUMBER: Final = 65_535
"""The largest channel number of AMQP. A server that sets no limit says 0."""


class Underlay(aiormq.Connection):
    """A connection of aiormq that reads frames through a FrameReader and keeps the reason of a block."""

    blocked_by = ""
    """The server's reason for the last block; aiormq only logs it."""
    frame_reader: FrameReader | None = None
    """Assembles this connection's deliveries; None where aiormq reads the frames itself."""

    def __init__(
        self,
        url: URL | str,
        *,
        vhost: str = "/",
        transport_factory: TransportFactory | None = None,
        use_frame_reader: bool = True,
    ) -> None:
        """Prepare a connection; with ``use_frame_reader=False`` aiormq reads the frames itself.

        ``vhost`` is taken as it is. aiormq would decode one in ``url`` a second time.
        """
        super().__init__(url, transport_factory=transport_factory)
        self.vhost = vhost
        self._use_frame_reader = use_frame_reader
        self._observer: asyncio.Future[Any] = super().closing

    @property
    def closing(self) -> asyncio.Future[Any]:
        """Return a future that ends with the connection; the same each time, so that callbacks can be removed."""
        return self._observer

    async def channel(
        self,
        channel_number: int | None = None,
        publisher_confirms: bool = True,
        frame_buffer_size: int = FRAME_BUFFER_SIZE,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> AbstractChannel:
        """Open a channel, by default with the lowest number that is free.

        Raises ChannelInvalidStateError if the connection has as many channels as the server allows.
        """
        number = self.free_number() if channel_number is None else channel_number
        return await super().channel(number, publisher_confirms, frame_buffer_size, timeout, **kwargs)

    def free_number(self) -> int:
        """Return the lowest channel number that is free; raise ChannelInvalidStateError if there is none."""
        most = self.connection_tune.channel_max or MAX_CHANNEL_NUMBER
        number = next(number for number in itertools.count(1) if number not in self.channels)
        if number > most:
            raise ChannelInvalidStateError(f"the connection has {most} channels, as many as the server allows")
        return number

    async def _Connection__reader(self, frame_receiver: Any) -> None:
        """Run aiormq's frame loop, with a FrameReader in place of its FrameReceiver."""
        reader = getattr(frame_receiver, "reader", None)
        if self._use_frame_reader and isinstance(reader, asyncio.StreamReader):
            frame_receiver = self.frame_reader = FrameReader(reader)
        await super()._Connection__reader(frame_receiver)  # type: ignore[misc]  # a name-mangled method

    async def _Connection__handle_connection_blocked(self, frame: Any) -> None:
        """Keep the reason of the block, then handle the frame as aiormq does."""
        self.blocked_by = decode_reason(frame.reason)
        await super()._Connection__handle_connection_blocked(frame)  # type: ignore[misc]  # a name-mangled method
