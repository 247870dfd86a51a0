"""A connection that knows why the server blocks it: short of memory or disk, it takes no publishes from it any more."""

from __future__ import annotations

import asyncio
from typing import Any

import aiormq

__all__ = ["Connection", "text", "why_blocked"]


class Connection(aiormq.Connection):
    """aiormq's, which only logs the server's reason. Where its handler has another name, the reason is not known."""

    blocked_by = ""

    async def _Connection__handle_connection_blocked(self, frame: Any) -> None:  # noqa: N802 - the name it has there
        self.blocked_by = text(frame.reason)
        await super()._Connection__handle_connection_blocked(frame)  # type: ignore[misc]  # as above


async def why_blocked(connection: aiormq.Connection) -> str:
    """The server's reason for taking no publishes from ``connection`` now; empty while it does. Asks nobody."""
    try:
        async with asyncio.timeout(0):  # what need not wait does not
            await connection.ready()
    except TimeoutError:
        return getattr(connection, "blocked_by", "") or "it does not say why"
    return ""


def text(told: object) -> str:
    """What the server says, as text."""
    return told.decode(errors="replace") if isinstance(told, bytes | bytearray) else str(told)
