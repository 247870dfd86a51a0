"""Rate limiter for redrives and replays."""

from __future__ import annotations

import asyncio

__all__ = ["RateLimiter"]


class RateLimiter:
    """Limits how many messages are sent a second."""

    def __init__(self, rate: float | None) -> None:
        """Create a limiter that admits ``rate`` messages a second; None is no limit."""
        self._each = 0.0 if rate is None else 1 / rate
        self._next = 0.0

    async def wait(self, count: int) -> None:
        """Wait until ``count`` more messages may be sent."""
        if not self._each:
            return
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now)
        await asyncio.sleep(self._next - now)
        self._next += count * self._each
