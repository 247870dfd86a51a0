"""Scenarios run by seeds: the seed that breaks the promise is named, and replays it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus.testing.simulation import simulate
from msgbus.testing.simulation.running import replay
from msgbus.testing.verification import Kind

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.testing.simulation import Simulation


async def handled(simulation: Simulation) -> None:
    """Publish one message to a group with a member."""
    publisher = await simulation.broker("publisher")
    await publisher.create_queue("q", groups=["g"])

    async def callback(message: Message) -> None:
        del message

    await simulation.member("q", callback)
    await publisher.publish("q", b"x")


async def broken(simulation: Simulation) -> None:
    """Raise after the first step."""
    await simulation.broker("publisher")
    raise ValueError("the scenario's own")


def test_a_seed_gives_the_same_run_every_time_and_another_seed_another() -> None:
    first, second = (simulate(handled, seeds=[1, 2]) for _ in range(2))
    assert first == second
    assert [one.seed for one in first] == [1, 2]
    assert first[0].trace != first[1].trace


def test_a_replay_has_all_that_was_recorded() -> None:
    kinds = [event.kind for event in replay(handled, 1)]
    assert Kind.CONFIRMED in kinds
    assert Kind.HANDED in kinds


def test_a_scenario_that_raises_names_its_seed() -> None:
    with pytest.raises(AssertionError, match=r"seed 7: .*the scenario's own"):
        simulate(broken, seeds=[7])


def test_a_run_that_breaks_the_promise_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    from msgbus.testing.simulation import running

    monkeypatch.setattr(running, "check", lambda _: ["a message was lost"])
    monkeypatch.setattr(running, "report", lambda _, findings: "\n".join(findings))
    with pytest.raises(AssertionError, match=r"seed 3 breaks the promise.*\na message was lost"):
        simulate(handled, seeds=[3])
