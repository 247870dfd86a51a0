"""Questions to Redis, by redis-py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from bench.asked import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence


async def left(url: str, lying: str) -> int:
    """Implement :meth:`Asked.left`: entries that are pending, and those that were not read."""
    client: Any = Redis.from_url(url)
    async with client:
        groups = {one["name"].decode(): one for one in await client.xinfo_groups(lying)}
    group = groups[GROUP]
    return int(group["pending"]) + int(group["lag"] or 0)


async def sweep(url: str, queues: Sequence[str]) -> None:
    """Implement :meth:`Asked.sweep`: delete every key that contains the name of one of these queues."""
    client: Any = Redis.from_url(url)
    async with client:
        for queue in queues:
            if found := [key async for key in client.scan_iter(match=f"*{queue}*", count=1000)]:
                await client.unlink(*found)
