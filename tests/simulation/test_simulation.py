"""The promise in every order of events that the seeds draw: MSGBUS_TEST_SEEDS says how many."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.simulation import NO_FAULTS, Faults, simulate
from tests.simulation.partitioned import partitioned
from tests.simulation.races import IDLE_RACES, PARTITIONED_RACES, RACES
from tests.simulation.scenario import hasty_members, three_members, two_and_no_more
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from msgbus.testing.simulation import Simulation
    from tests.simulation.races import Plant

SEEDS = int(os.environ.get("MSGBUS_TEST_SEEDS", "200"))
AT_ONCE = replace(NO_FAULTS, slowness=0)
"""What can happen at the same time does."""


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="msgbus")  # what fails on purpose would fill the memory with reports


def test_no_order_of_events_breaks_the_promise() -> None:
    runs = simulate(hasty_members, range(SEEDS))
    assert len({run.schedule for run in runs}) >= 0.9 * SEEDS


@pytest.mark.parametrize("plant", RACES, ids=lambda plant: plant.__name__)
def test_a_planted_race_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=r"^seed \d+ breaks the promise"):
        simulate(hasty_members, range(200))


def test_no_order_of_events_strands_a_message_or_its_acknowledgement_where_there_is_no_other() -> None:
    simulate(two_and_no_more, range(SEEDS // 2), faults=AT_ONCE)


@pytest.mark.parametrize("plant", IDLE_RACES, ids=lambda plant: plant.__name__)
def test_a_planted_race_of_idle_members_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=r"^seed \d+ breaks the promise"):
        simulate(two_and_no_more, range(200), faults=AT_ONCE)


def test_no_order_of_events_breaks_the_promise_where_partitions_are_revoked() -> None:
    half = SEEDS // 2
    runs = simulate(three_members, range(half), faults=NO_FAULTS, adapter=partitioned)
    runs += simulate(three_members, range(half, SEEDS), faults=Faults(positions=True), adapter=partitioned)
    assert len({run.schedule for run in runs}) >= 0.9 * SEEDS


@pytest.mark.parametrize("plant", PARTITIONED_RACES, ids=lambda plant: plant.__name__)
def test_a_planted_race_of_partitions_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=r"^seed \d+ breaks the promise"):
        simulate(three_members, range(200), faults=NO_FAULTS, adapter=partitioned)


def test_a_seed_replays_its_trace_byte_for_byte_in_any_process() -> None:
    first, second, other = _trace("1", hashes="1"), _trace("1", hashes="2"), _trace("2", hashes="1")
    assert first
    assert first == second
    assert first != other


def _trace(*seeds: str, hashes: str) -> bytes:
    command = [sys.executable, "-m", "tests.simulation.scenario", *seeds]
    environment = {**os.environ, "PYTHONHASHSEED": hashes}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603


def test_a_scenario_that_raises_names_its_seed() -> None:
    async def broken(simulation: Simulation) -> None:
        await simulation.pause(1)
        raise ValueError("mine")

    with pytest.raises(AssertionError, match=r"seed 7: .*mine"):
        simulate(broken, [7])


def test_every_publish_ends_by_its_deadline_on_a_server_that_never_answers() -> None:
    async def unanswered(simulation: Simulation) -> None:
        publisher = await simulation.broker("publisher")
        await publisher.create_queue("q", groups=["g"])
        began = simulation.now
        verdicts = await publisher.publish_many("q", ["one", "two"])
        assert None not in verdicts
        assert 20 < simulation.now - began <= 30.1

    simulate(unanswered, range(20), faults=Faults(publish_answer_lost=1))
