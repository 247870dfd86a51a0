"""Names of the keys that this adapter uses on a server."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgbus.adapter.address import Address

__all__ = ["handover_signal_key", "lock_key", "settings_key", "stream_key"]


@lru_cache(maxsize=1024)
def stream_key(prefix: str, address: Address) -> bytes:
    """Return the key of a queue's stream. The braces are the hash tag of a cluster."""
    return f"{prefix}:{{{address}}}".encode()


def settings_key(prefix: str, address: Address) -> bytes:
    """Return the key of a queue's settings, in the same slot of a cluster. It exists where create_queue() set any."""
    return f"{prefix}:about:{{{address}}}".encode()


def handover_signal_key(prefix: str, group: str) -> bytes:
    """Return the key of the stream in which leaving members of ``group`` signal their handovers."""
    return f"{prefix}:bell:{group}".encode()


def lock_key(prefix: str, address: Address) -> bytes:
    """Return the key of the lock on a dead-letter queue, in the same slot of a cluster."""
    return f"{prefix}:taker:{{{address}}}".encode()
