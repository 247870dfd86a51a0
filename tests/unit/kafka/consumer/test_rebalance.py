"""The rebalance handler's report to the health check."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from msgbus_kafka.consumer.rebalance import RebalanceHandler
from msgbus_kafka.options import Timing


async def test_kafka_tells_of_a_coordinator_that_is_not_there_and_of_a_rebalance_that_does_not_end() -> None:
    coordinator = SimpleNamespace(coordinator_id=None)
    client, timing = SimpleNamespace(_coordinator=coordinator), Timing.of(45)
    nothing: Any = None
    rebalancing = RebalanceHandler(client, nothing, nothing, nothing, timing)
    assert "coordinator" in rebalancing.problem()
    coordinator.coordinator_id = 1
    assert not rebalancing.problem()
    rebalancing.expect({})
    assert not rebalancing.problem(), "it has only begun"
    rebalancing._unstable_since -= timing.rebalance + 1
    assert rebalancing.problem() == "kafka: no assignment for 31 s"
    rebalancing.stable.set()
    assert not rebalancing.problem()
