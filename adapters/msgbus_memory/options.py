"""The memory adapter's URL parameters."""

from __future__ import annotations

from msgbus.adapter.options import AdapterOptions

__all__ = ["MemoryOptions"]


class MemoryOptions(AdapterOptions):
    """Nothing of its own; the TLS options are accepted so that one set of variables serves every broker."""
