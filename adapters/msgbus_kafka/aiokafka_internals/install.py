"""Installation of the patches that every AIOKafkaClient gets before it starts.

aiokafka 0.14: a closed connection keeps its socket until the server has read everything (test_shutdown.py). The
other patches are described in their modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus_kafka.aiokafka_internals.bootstrap_rediscovery import install_rediscovery
from msgbus_kafka.aiokafka_internals.request_throttle import install_throttle
from msgbus_kafka.aiokafka_internals.shutdown import abort_connection

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.bootstrap_rediscovery import FetchMetadata
    from msgbus_kafka.client_types.network import Connection, NetworkClient

__all__ = ["install_patches"]


def install_patches(client: NetworkClient, servers: str, metadata: FetchMetadata) -> None:
    """Install rediscovery, the request throttle and the abort of closed connections in an AIOKafkaClient."""
    install_rediscovery(client, servers, metadata)
    install_throttle(client)
    closed = client._on_connection_closed

    def cut_off_and_closed(connection: Connection, reason: object) -> None:
        abort_connection(connection)
        closed(connection, reason)

    client._on_connection_closed = cut_off_and_closed
