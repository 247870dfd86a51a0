"""aiormq's connection with two methods replaced: the frame loop's source, and the handler of ``Connection.Blocked``.

Client: aiormq 7.2.4. Both methods have name-mangled names, so a version that renames them does not call ours.

- ``__reader``: symptom: consuming takes 66 us of CPU per message with aiormq's own receiver of frames, 17 us with
  `FrameReader`. Test that fails without it:
  test_the_client_that_is_installed_is_read_at_once. Remove it when aiormq decodes deliveries without a task and a
  queue for each message.
- ``__handle_connection_blocked``: see `blocked`.

`verification` checks both names, and `rehearsal` runs the frame loop once before the first connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq

from msgbus_rabbitmq.aiormq_internals.blocked import decode_reason
from msgbus_rabbitmq.aiormq_internals.frame_reader import FrameReader

if TYPE_CHECKING:
    from aiormq.connection import TransportFactory
    from yarl import URL

__all__ = ["Connection"]


class Connection(aiormq.Connection):
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
