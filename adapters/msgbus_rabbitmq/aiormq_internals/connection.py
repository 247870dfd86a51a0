"""aiormq's connection, with two things changed inside: how it is read, and what is known of why it is blocked.

Each takes the place of a method that aiormq may rename. Then it is not called, and there is a slower way, or none of
knowing the reason.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiormq

from msgbus_rabbitmq.aiormq_internals.blocked import decode_reason
from msgbus_rabbitmq.aiormq_internals.frame_reader import FrameReader

__all__ = ["Connection"]


class Connection(aiormq.Connection):
    """See aiormq.Connection."""

    blocked_by = ""
    """The server's reason, which aiormq only logs."""
    frame_reader: FrameReader | None = None
    """Who gets what is delivered; None where aiormq reads the frames itself."""

    async def _Connection__reader(self, frame_receiver: Any) -> None:  # noqa: N802 - the name it has there
        reader = getattr(frame_receiver, "reader", None)
        if isinstance(reader, asyncio.StreamReader):
            frame_receiver = self.frame_reader = FrameReader(reader)
        await super()._Connection__reader(frame_receiver)  # type: ignore[misc]  # as above

    async def _Connection__handle_connection_blocked(self, frame: Any) -> None:  # noqa: N802 - as above
        self.blocked_by = decode_reason(frame.reason)
        await super()._Connection__handle_connection_blocked(frame)  # type: ignore[misc]  # as above
