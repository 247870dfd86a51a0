"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio

__all__ = ["within"]


async def within(seconds: float, event: asyncio.Event) -> None:
    """Return when ``event`` is set, or after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
