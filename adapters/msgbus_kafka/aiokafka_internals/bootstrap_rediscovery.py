"""A cluster is found at the URL's servers, and found again there when its addresses have all changed.

aiokafka looks at those only once: a producer whose nodes came back elsewhere would wait for them for ever. Java's
client does this since 4.0 (KIP-899). What is under way goes on with the same sequence numbers, so nothing comes twice.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable

    FetchMetadata = Callable[[Iterable[str] | None, Container[tuple[str, int]]], Awaitable[Any]]
    """Access.metadata()."""

__all__ = ["install_rediscovery"]

logger = logging.getLogger("msgbus.kafka")

REDISCOVERY_INTERVAL_SECONDS: Final = 1.0
"""Seconds between two looks: a server may answer for a cluster whose nodes are all down."""


def install_rediscovery(client: Any, servers: str, metadata: FetchMetadata) -> None:
    """Install it in an AIOKafkaClient, before it starts."""
    loop = asyncio.get_running_loop()
    update = client._metadata_update
    due = 0.0

    async def bootstrap() -> None:
        # aiokafka's own leaves its connection open when it is given up while it waits for the answer.
        answer = await metadata((), ())
        if answer is None:
            raise KafkaConnectionError(f"{servers} did not say where the cluster's nodes are")
        client.cluster.update_metadata(answer)
        if client._sync_task is None:
            client._sync_task = loop.create_task(client._md_synchronizer())

    async def updated(cluster: Any, topics: Any) -> bool:
        nonlocal due
        if await update(cluster, topics):
            return True
        if loop.time() < due:
            return False
        due = loop.time() + REDISCOVERY_INTERVAL_SECONDS
        known = {(broker.host, broker.port) for broker in client.cluster.brokers()}
        answer = await metadata(topics or None, known)
        if answer is None:
            return False
        if known.isdisjoint((host, port) for _, host, port, *_ in answer.brokers):
            logger.info("kafka: none of its nodes is where it was; %s told where they are", servers)
        cluster.update_metadata(answer)
        return True

    client.bootstrap = bootstrap
    client._metadata_update = updated
