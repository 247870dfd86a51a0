"""The reason why the server blocks a connection: it is short of memory or disk and reads no publishes.

Client: aiormq 7.2.4. Symptom: aiormq logs the reason of ``Connection.Blocked`` and keeps only the fact. Our
`Underlay` stores the reason as ``blocked_by``. Where that hook is missing, the reason is reported as unknown.

Test that fails without it:
test_a_server_short_of_memory_blocks_and_says_why_and_that_is_gone_afterwards.
Remove it when aiormq exposes the reason.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aio_pika

__all__ = ["decode_reason", "why_blocked"]


async def why_blocked(connection: aio_pika.Connection) -> str:
    """Return the server's reason for blocking ``connection``, or ``""`` if it is not blocked. Sends nothing."""
    try:
        async with asyncio.timeout(0):  # ready() returns without waiting unless the connection is blocked
            await connection.ready()
    except TimeoutError:
        return getattr(connection, "blocked_by", "") or "it does not say why"
    return ""


def decode_reason(told: object) -> str:
    """Return a value of the server's, bytes or not, as text."""
    return told.decode(errors="replace") if isinstance(told, bytes | bytearray) else str(told)
