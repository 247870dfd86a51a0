"""A bound on how often a client of aiokafka's asks for metadata.

It asks again without a pause while a partition has no leader (7,066 requests in 3 s, seen) or an answer names none of
its topics. Asking is the only thing that ends it, so it may go on, at a walk.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["calm"]

BURST: Final = 5
"""Requests at once: a subscription that changes needs two or three."""
EVERY: Final = 0.1
"""Seconds from one to the next after that."""


def calm(client: Any) -> None:
    """Install it in an AIOKafkaClient, before it starts."""
    update = client._metadata_update  # noqa: SLF001
    loop = asyncio.get_running_loop()
    due = loop.time() - BURST * EVERY

    async def calmed(cluster: Any, topics: Any) -> Any:
        nonlocal due
        now = loop.time()
        due = max(due, now - BURST * EVERY) + EVERY
        if due > now:
            await asyncio.sleep(due - now)
        return await update(cluster, topics)

    client._metadata_update = calmed  # noqa: SLF001
