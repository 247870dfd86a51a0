"""URL parameters of the memory adapter."""

from __future__ import annotations

from msgbus.adapter.options import AdapterOptions

__all__ = ["MemoryOptions"]


class MemoryOptions(AdapterOptions):
    """Accepts the options that all brokers have, TLS among them: one set of variables then serves every broker."""
