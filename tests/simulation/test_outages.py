"""What the circuit breaker promises, over hours of virtual time and in the orders of events that seeds draw."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.simulation import NO_FAULTS, simulate
from tests.simulation.outage_scenarios import (
    bad_in_front_of_good,
    bad_on_a_quiet_queue,
    due_while_it_is_open,
    off_for_an_hour,
    refused_for_ever,
    refused_in_front_of_good,
)
from tests.simulation.partitioned import partitioned

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.adapter import Adapter
    from msgbus.testing.simulation.running import Scenario

SEEDS = max(int(os.environ.get("MSGBUS_TEST_SEEDS", "200")) // 200, 1)
"""An hour of outage takes some seconds."""
MANY = 50_000 if "MSGBUS_TEST_SEEDS" in os.environ else 300


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="msgbus")


@pytest.mark.parametrize("adapter", [None, partitioned], ids=["single acknowledgements", "positions"])
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(partial(bad_on_a_quiet_queue, count=9), id="9 bad messages alone"),
        pytest.param(partial(bad_on_a_quiet_queue, count=12), id="12 bad messages alone"),
        pytest.param(partial(bad_on_a_quiet_queue, count=30), id="30 bad messages alone"),
        pytest.param(partial(bad_in_front_of_good, bad=30, good=1000), id="30 bad messages before 1,000 good ones"),
        pytest.param(partial(bad_in_front_of_good, bad=5000, good=1000), id="5,000 bad ones before 1,000 good ones"),
        pytest.param(refused_for_ever, id="12 that are always refused"),
        pytest.param(refused_in_front_of_good, id="200 that are always refused before 1,000 good ones"),
        pytest.param(partial(off_for_an_hour, count=12), id="an hour of outage with 12 messages"),
        pytest.param(partial(off_for_an_hour, count=MANY), id="an hour of outage with many messages"),
        pytest.param(partial(off_for_an_hour, count=12, churn=True), id="members come, go and are killed, 12 messages"),
        pytest.param(partial(off_for_an_hour, count=200, churn=True), id="members come, go and are killed, 200"),
        pytest.param(due_while_it_is_open, id="retries that are due while it is open"),
    ],
)
def test_a_bad_message_ends_in_its_own_time_and_an_outage_ends_none(
    scenario: Scenario, adapter: Callable[[], Adapter] | None
) -> None:
    simulate(scenario, range(SEEDS), faults=NO_FAULTS, adapter=adapter)
