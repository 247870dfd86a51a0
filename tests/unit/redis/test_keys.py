"""Names of keys on the server."""

from __future__ import annotations

from msgbus.adapter.address import Address
from msgbus_redis.keys import handover_signal_key, stream_key

QUEUE = Address("shop.purchases")


def test_names_are_the_documented_ones() -> None:
    assert stream_key("msgbus", QUEUE) == b"msgbus:{shop.purchases}"
    assert stream_key("msgbus", Address("q", "g", "retry.5s")) == b"msgbus:{q.g.retry.5s}"
    assert handover_signal_key("msgbus", "g") == b"msgbus:bell:g"
