"""The partition that a message goes to."""

from __future__ import annotations

from msgbus_kafka.producer.partitioner import Partitioner


def test_a_key_goes_where_javas_client_sends_it() -> None:
    spread = Partitioner()
    # From Kafka's own tests of Utils.murmur2: "21" is -973932308, "foobar" -790332482.
    assert spread.partition(b"21", range(1000), []) == (-973932308 & 0x7FFFFFFF) % 1000
    assert spread.partition(b"foobar", range(1000), []) == (-790332482 & 0x7FFFFFFF) % 1000


def test_messages_without_a_key_go_everywhere_in_turn() -> None:
    spread = Partitioner()
    assert {spread.partition(None, range(4), range(4)) for _ in range(4)} == {0, 1, 2, 3}
