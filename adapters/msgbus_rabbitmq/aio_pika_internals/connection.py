"""aio-pika's connection over our underlay, and its channel.

Client: aio-pika 10.2.1. What is replaced, and why:

- ``Connection.connect()`` dials with an `Underlay`, which has our stream, virtual host and frame reader. aio-pika dials
  with a plain connection of aiormq and offers no other. It uses ``_on_connection_close()`` and ``_on_connected()``.
  Test that fails without it: test_the_connection_is_one_of_aio_pika_over_our_underlay. Remove it when aio-pika takes a
  connection of aiormq.
- ``Connection.is_closed``, ``ready()`` and ``close()`` look at the underlay. Symptom: after a lost connection
  ``is_closed`` stays False, so that ``__del__`` starts a task; ``ready()`` knows nothing of a blocked connection; and
  ``close()`` leaves an underlay open whose ``connect()`` was given up. Tests that fail without them:
  test_a_connection_that_was_lost_is_closed, test_a_blocked_connection_is_not_ready,
  test_a_connect_that_is_cancelled_in_any_moment_leaves_no_connection.
- ``UnderlayConnection.close()`` waits for the close callback also when it is cancelled. Symptom: when an event loop
  ends and cancels all tasks, the callback may never run, and the loop never ends. Test that fails without it:
  test_a_connection_that_closes_while_the_event_loop_ends_keeps_nobody_waiting. Remove it when aio-pika lets it go.
- ``Channel.initialize()`` removes the callback that aio-pika leaves on the connection for each channel. Symptom: 3,000
  channels, opened and closed, left 6,004 callbacks and 11.8 MB. It reads ``_channel.close_callback``; the channel's own
  ``closing`` calls the same callback, also when the connection ends. A channel whose opening fails leaves its
  callback. Tests that fail without it: test_channels_that_were_closed_leave_nothing_on_the_connection,
  test_channels_that_the_server_closed_leave_nothing_on_the_connection. Remove it when aio-pika removes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aio_pika
from aio_pika.abc import UnderlayConnection
from aio_pika.exceptions import ConnectionClosed
from aio_pika.tools import OneShotCallback

from msgbus_rabbitmq.aio_pika_internals.underlay import Underlay

if TYPE_CHECKING:
    import aiormq
    from aiormq.connection import TransportFactory
    from yarl import URL

__all__ = ["Channel", "Connection"]


class Channel(aio_pika.Channel):
    """A channel of aio-pika with its underlay channel, which has one while it is open."""

    underlay: aiormq.Channel
    """The channel of aiormq: for batches of publishes, for deliveries and their acknowledgements."""

    async def initialize(self, timeout: float | None = None) -> None:
        """Open the channel, and leave no callback of it on the connection."""
        await super().initialize(timeout)
        underlay: Any = await self.get_underlay_channel()  # the abstract class lacks what batch_publish needs
        self.underlay = underlay
        if (callback := getattr(self._channel, "close_callback", None)) is not None:
            underlay.connection.closing.remove_done_callback(callback)


class _Transport(UnderlayConnection):
    """The underlay connection as aio-pika holds it."""

    async def close(self, exc: aiormq.abc.ExceptionType | None) -> None:
        """Close the underlay and wait until the close callback has run; a close that is cancelled waits for nothing."""
        if not self.close_callback.finished.is_set():
            await self.connection.close(exc)
            await self.close_callback.wait()


class Connection(aio_pika.Connection):
    """A connection of aio-pika that dials with an Underlay."""

    CHANNEL_CLASS = Channel

    def __init__(
        self,
        url: URL,
        *,
        vhost: str = "/",
        transport_factory: TransportFactory | None = None,
        use_frame_reader: bool = True,
        client_properties: dict[str, Any] | None = None,
    ) -> None:
        """Prepare a connection. ``vhost`` and ``use_frame_reader`` are the underlay's."""
        super().__init__(url, client_properties=client_properties)
        self.underlay = Underlay(
            url, vhost=vhost, transport_factory=transport_factory, use_frame_reader=use_frame_reader
        )
        """The connection of aiormq."""

    @property
    def is_opened(self) -> bool:
        """Whether the connection is open, as far as this process knows."""
        return self.transport is not None and self.underlay.is_opened

    @property
    def is_closed(self) -> bool:
        """Whether the connection is not open: not yet, or no more."""
        return super().is_closed or not self.underlay.is_opened

    @property
    def server_properties(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.underlay.server_properties or {}

    @property
    def blocked_by(self) -> str:
        """The server's reason for the last block."""
        return self.underlay.blocked_by

    async def connect(self, timeout: float | None = None) -> None:
        """Connect to the server within ``timeout`` seconds."""
        async with asyncio.timeout(timeout):
            await self.underlay.connect(client_properties=self.kwargs.get("client_properties"))
        closed = OneShotCallback(self._on_connection_close)
        self.underlay.closing.add_done_callback(closed)
        self.transport = _Transport(self.underlay, closed)
        await self._on_connected()

    def channel(
        self,
        channel_number: int | None = None,
        publisher_confirms: bool = True,
        on_return_raises: bool = False,
    ) -> Channel:
        """Return a channel to initialize(). Raises ChannelInvalidStateError if no channel number is free."""
        self.underlay.free_number()  # before aio-pika adds a callback for the channel, which would stay
        return cast("Channel", super().channel(channel_number, publisher_confirms, on_return_raises))

    async def ready(self) -> None:
        """Wait until the connection is open and the server does not block it."""
        await self.underlay.ready()

    async def close(self, exc: aiormq.abc.ExceptionType | None = ConnectionClosed) -> None:
        """Close the connection, or what ``connect()`` has opened of it."""
        await super().close(exc)
        await self.underlay.close(exc)
