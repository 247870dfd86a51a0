"""A sticky assignor remembers what its own consumer had, and nothing of others."""

from __future__ import annotations

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from msgbus_kafka.consumer.sticky_assignor import new_sticky_assignor


def test_consumers_do_not_share_the_memory_of_their_assignors() -> None:
    one, other = new_sticky_assignor(), new_sticky_assignor()
    before = other.metadata({"orders"})
    one.on_assignment(ConsumerProtocolMemberAssignment(0, [("orders", [0])], b""))
    assert one.metadata({"orders"}) != before
    assert other.metadata({"orders"}) == before
    assert new_sticky_assignor().metadata({"orders"}) == before
