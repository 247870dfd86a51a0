"""Boundary between core and adapters: all that an adapter may import, with ``msgbus.errors`` and ``msgbus.message``.

This package exports the interface to implement and its value types. Its modules:

- ``interface`` and ``specs``: the interface and its value types.
- ``address``: names of queues and groups. ``envelope`` and ``headers``: messages on the wire.
- ``url``, ``options`` and ``diagnostics``: where the server is, its settings, and what is wrong with them.
- ``publish_calls``, ``batch_writer``, ``watermark`` and ``timeouts``: tools that adapters share.
"""

from msgbus.adapter.interface import Adapter, Consumer, DeadLetterStore, HistoryReader, SessionListener
from msgbus.adapter.specs import Capabilities, DeadLetterCount, Lag, Page, Position, QueueSpec, Start

__all__ = [
    "Adapter",
    "Capabilities",
    "Consumer",
    "DeadLetterCount",
    "DeadLetterStore",
    "HistoryReader",
    "Lag",
    "Page",
    "Position",
    "QueueSpec",
    "SessionListener",
    "Start",
]
