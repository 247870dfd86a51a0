"""Request throttle: a bound on how often an aiokafka client repeats a request.

aiokafka 0.14 requests metadata without a pause while a partition has no leader (4,352 requests in 2 s, seen), and
fetches without a pause while a node answers that it is not the leader. Only a request ends either state, so requests
continue at a bounded rate. Tests: test_client_defects.py, "a topic without leaders" and "a partition whose leader says
that it is none". Remove when aiokafka waits ``retry_backoff_ms`` in both cases.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aiokafka.protocol.fetch import FetchRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from msgbus_kafka.client_types.network import ClusterView, NetworkClient, Response

    Update = Callable[[ClusterView, Iterable[str]], Awaitable[bool]]
    Send = Callable[..., Awaitable[Any]]

__all__ = ["install_throttle"]

BURST_REQUESTS: Final = 5
"""Requests at once: a subscription that changes needs two or three."""
REQUEST_INTERVAL_SECONDS: Final = 0.1
"""Seconds from one to the next after that."""


def install_throttle(client: NetworkClient) -> None:
    """Install the throttle in an AIOKafkaClient before it starts."""
    client._metadata_update = _throttled_updates(client._metadata_update)
    client.send = _throttled_fetches(client.send)


def _throttled_updates(update: Update) -> Update:
    loop = asyncio.get_running_loop()
    due = loop.time() - BURST_REQUESTS * REQUEST_INTERVAL_SECONDS

    async def calmed(cluster: ClusterView, topics: Iterable[str]) -> bool:
        nonlocal due
        now = loop.time()
        due = max(due, now - BURST_REQUESTS * REQUEST_INTERVAL_SECONDS) + REQUEST_INTERVAL_SECONDS
        if due > now:
            await asyncio.sleep(due - now)
        return await update(cluster, topics)

    return calmed


def _throttled_fetches(send: Send) -> Send:
    in_a_row: Counter[int] = Counter()

    async def calmed(node: int, request: object, **how: object) -> Any:
        answer = await send(node, request, **how)
        if isinstance(request, FetchRequest):
            in_a_row[node] = in_a_row[node] + 1 if _fails(answer) else 0
            if in_a_row[node] > BURST_REQUESTS:
                await asyncio.sleep(REQUEST_INTERVAL_SECONDS)
        return answer

    return calmed


def _fails(answer: Response) -> bool:
    return any(partition[1] for _, partitions in answer.topics for partition in partitions)
