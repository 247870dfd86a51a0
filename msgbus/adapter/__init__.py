"""The boundary: all that an adapter may import, besides ``msgbus.errors`` and ``msgbus.message``.

This package itself exports the interface to implement and its value types. Further modules: ``address`` (names of
queues and groups), ``envelope`` and ``headers`` (messages on the wire), ``url`` and ``options``, ``diagnostics``,
``publish_calls``, ``batch_writer``, ``watermark`` and ``timeouts`` (tools that every adapter needs).
"""

from msgbus.adapter.interface import Adapter, Consumer, DeadLetterStore, HistoryReader, SessionListener
from msgbus.adapter.specs import Capabilities, Lag, Position, QueueSpec, Start

__all__ = [
    "Adapter",
    "Capabilities",
    "Consumer",
    "DeadLetterStore",
    "HistoryReader",
    "Lag",
    "Position",
    "QueueSpec",
    "SessionListener",
    "Start",
]
