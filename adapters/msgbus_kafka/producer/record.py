"""Records as this adapter publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.headers import TOMBSTONE
from msgbus.adapter.publish_calls import PendingMessage
from msgbus_kafka.codec import encode_record

if TYPE_CHECKING:
    from msgbus.adapter.address import Address
    from msgbus.adapter.publish_calls import PublishCall

__all__ = ["Record", "Tombstone"]


class Record(PendingMessage):
    """A message in the form that a topic stores."""

    __slots__ = ("headers", "key", "sent", "value")

    def __init__(self, call: PublishCall, place: int, message: Outgoing) -> None:
        self.call = call
        self.index = place
        self.message = message
        self.completed = False
        self.key, self.headers = encode_record(message)
        self.value: bytes | None = message.body
        if TOMBSTONE in message.headers and not message.address.part:
            self.value = None  # not in a dead-letter queue, where it would remove the dead letter
        self.sent = False
        """It is in a batch and cannot be taken back."""


class Tombstone(Record):
    """A record without a value: removes the record of ``key`` from a compacted topic."""

    __slots__ = ()

    def __init__(self, call: PublishCall, place: int, address: Address, key: bytes) -> None:
        super().__init__(call, place, Outgoing(address, f"of {key!r}", 0, b"", None, {}))
        self.key, self.headers, self.value = key, [], None
