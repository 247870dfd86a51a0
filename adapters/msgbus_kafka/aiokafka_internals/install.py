"""What every client of aiokafka's is given before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgbus_kafka.aiokafka_internals.bootstrap_rediscovery import find_again
from msgbus_kafka.aiokafka_internals.request_throttle import calm
from msgbus_kafka.aiokafka_internals.shutdown import cut_off

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.bootstrap_rediscovery import Fetch

__all__ = ["tame"]


def tame(client: Any, servers: str, metadata: Fetch) -> None:
    """An AIOKafkaClient finds its cluster again, asks at a walk, and leaves no connection behind."""
    find_again(client, servers, metadata)
    calm(client)
    closed = client._on_connection_closed  # noqa: SLF001

    def cut_off_and_closed(connection: Any, reason: Any) -> None:
        cut_off(connection)
        closed(connection, reason)

    client._on_connection_closed = cut_off_and_closed  # noqa: SLF001
