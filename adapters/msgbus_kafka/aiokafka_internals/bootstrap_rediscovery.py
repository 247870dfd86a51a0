"""Bootstrap rediscovery: a cluster whose addresses have all changed is found again at the URL's servers.

aiokafka 0.14: the URL's servers are asked once, at the start. A producer whose nodes came back at other addresses waits
for the old ones indefinitely. Java's client rediscovers since 4.0 (KIP-899). Batches in flight keep their sequence
numbers, so no message is stored twice. Test: test_bootstrap_rediscovery.py. Remove when aiokafka implements KIP-899.

aiokafka's own ``bootstrap()`` is replaced too: it leaves its connection open when it is cancelled. Test:
test_shutdown.py, "a start that is given up at any moment leaves no connection".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable

    from msgbus_kafka.client_types.network import ClusterView, MetadataResponse, NetworkClient

    FetchMetadata = Callable[[Iterable[str] | None, Container[tuple[str, int]]], Awaitable[MetadataResponse | None]]
    """ConnectionSettings.fetch_metadata()."""

__all__ = ["install_rediscovery"]

logger = logging.getLogger("msgbus.kafka")

REDISCOVERY_INTERVAL_SECONDS: Final = 1.0
"""Seconds between two tries: a server may answer for a cluster whose nodes are all down."""


def install_rediscovery(client: NetworkClient, servers: str, metadata: FetchMetadata) -> None:
    """Install it in an AIOKafkaClient before it starts."""
    loop = asyncio.get_running_loop()
    update = client._metadata_update
    due = 0.0

    async def bootstrap() -> None:
        # aiokafka's own leaves its connection open when it is cancelled while it waits for the answer.
        answer = await metadata((), ())
        if answer is None:
            raise KafkaConnectionError(f"{servers} did not return the addresses of the cluster's nodes")
        client.cluster.update_metadata(answer)
        if client._sync_task is None:
            client._sync_task = loop.create_task(client._md_synchronizer())

    async def updated(cluster: ClusterView, topics: Iterable[str]) -> bool:
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
            logger.info("kafka: no node answers at its known address; found the cluster again through %s", servers)
        cluster.update_metadata(answer)
        return True

    client.bootstrap = bootstrap
    client._metadata_update = updated
