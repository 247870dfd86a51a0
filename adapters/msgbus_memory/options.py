"""URL parameters of the memory adapter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from msgbus.adapter.options import AdapterOptions
from msgbus_memory.retention import RETENTION_BYTES

__all__ = ["MemoryOptions"]


class MemoryOptions(AdapterOptions):
    """Accepts the options that all brokers have, TLS among them: one set of variables then serves every broker."""

    retention_bytes: Annotated[int, Field(ge=0)] = RETENTION_BYTES
    """Memory of handled messages that a server keeps, about: beyond it the oldest go before their retention is over."""
