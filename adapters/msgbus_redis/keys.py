"""Names of the keys this adapter uses on a server."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus.adapter.address import Address

__all__ = ["about", "bell", "stream", "taker"]


@lru_cache(maxsize=1024)
def stream(prefix: str, address: Address) -> bytes:
    """The key of a queue's stream; the braces are the hash tag of a cluster."""
    return f"{prefix}:{{{address}}}".encode()


def about(prefix: str, address: Address) -> bytes:
    """The key of what create_queue() was told about a queue, in the same slot of a cluster; none where it was not."""
    return f"{prefix}:about:{{{address}}}".encode()


def bell(prefix: str, group: str) -> bytes:
    """The key of the stream in which a leaving member of ``group`` tells the others."""
    return f"{prefix}:bell:{group}".encode()


def taker(prefix: str, address: Address) -> bytes:
    """The key of the lock on a dead-letter queue, in the same slot of a cluster."""
    return f"{prefix}:taker:{{{address}}}".encode()
