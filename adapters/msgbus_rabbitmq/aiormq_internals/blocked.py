"""Why the server blocks a connection: short of memory or disk, it takes no publishes from it any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiormq

__all__ = ["decode_reason", "why_blocked"]


async def why_blocked(connection: aiormq.Connection) -> str:
    """The server's reason for taking no publishes from ``connection`` now; empty while it does. Asks nobody."""
    try:
        async with asyncio.timeout(0):  # what need not wait does not
            await connection.ready()
    except TimeoutError:
        return getattr(connection, "blocked_by", "") or "it does not say why"
    return ""


def decode_reason(told: object) -> str:
    """What the server says, as text."""
    return told.decode(errors="replace") if isinstance(told, bytes | bytearray) else str(told)
