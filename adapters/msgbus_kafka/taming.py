"""What every client of aiokafka's is given before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgbus_kafka.calm import calm
from msgbus_kafka.finding import find_again
from msgbus_kafka.stopping import cut_off

if TYPE_CHECKING:
    from msgbus_kafka.access import Access

__all__ = ["tame"]


def tame(client: Any, access: Access) -> None:
    """An AIOKafkaClient finds its cluster again, asks at a walk, and leaves no connection behind."""
    find_again(client, access)
    calm(client)
    closed = client._on_connection_closed  # noqa: SLF001

    def cut_off_and_closed(connection: Any, reason: Any) -> None:
        cut_off(connection)
        closed(connection, reason)

    client._on_connection_closed = cut_off_and_closed  # noqa: SLF001
