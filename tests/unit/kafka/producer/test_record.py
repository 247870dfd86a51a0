"""Records as they are published."""

from __future__ import annotations

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.headers import DEAD_LETTER_ID, TOMBSTONE
from msgbus.adapter.publish_calls import PublishCall
from msgbus_kafka.producer.record import Record


def record(part: str, headers: dict[str, str], body: bytes = b"") -> Record:
    address = Address("q", "g" if part else "", part)
    return Record(PublishCall(1, 0.0), 0, Outgoing(address, "1", 0, body, "k", headers))


def test_a_tombstone_has_no_value() -> None:
    assert record("", {TOMBSTONE: "1"}).value is None
    assert record("", {}).value == b"", "an empty body is none"


@pytest.mark.parametrize("part", ["dlq", "retry.5s"])
def test_a_copy_of_a_tombstone_has_a_value(part: str) -> None:
    """Without one it would remove itself from the dead-letter queue, which is compacted."""
    assert record(part, {TOMBSTONE: "1", DEAD_LETTER_ID: "letter"}).value == b""
