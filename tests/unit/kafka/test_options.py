"""Options, and the timeouts that follow from the session timeout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    ConfigurationError,
)
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.options import Timing


@pytest.mark.parametrize("session", [1, 3, 6, 10, 45, 300])
def test_a_member_can_always_let_go_before_the_group_gives_up_on_it(session: float) -> None:
    timing = Timing.of(session)
    assert timing.drain + timing.commit < timing.rebalance < timing.request < timing.session
    assert timing.heartbeat * 3 <= timing.session


def test_the_usual_timeouts_are_those_that_were_measured() -> None:
    timing = Timing.of(45)
    assert (timing.drain, timing.rebalance, timing.request, timing.session) == (18, 30, 40, 45)


@pytest.mark.parametrize("session", [0, -1, 0.5, 5000, float("nan")])
def test_an_impossible_session_timeout_is_named(session: float) -> None:
    with pytest.raises(ConfigurationError, match="session_timeout"):
        KafkaAdapter(BrokerURL.parse("kafka://h"), KafkaOptions(session_timeout=session))


@pytest.mark.parametrize("wrong", [{"drain": 26}, {"rebalance": 40}, {"request": 45}])
def test_timeouts_out_of_their_order_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"drain.*rebalance.*request.*session"):
        replace(Timing.of(45), **wrong)


def test_an_assignor_is_a_name_or_a_class_of_assignors(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

    from msgbus import connect

    connect("kafka://localhost", assignor=RoundRobinPartitionAssignor)
    monkeypatch.setenv("MSGBUS_ASSIGNOR", "sticky")
    connect("kafka://localhost")
    for wrong in ("fair", str):
        with pytest.raises(ConfigurationError, match="assignor"):
            connect("kafka://localhost", assignor=wrong)
