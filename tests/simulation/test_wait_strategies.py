"""Wait strategies of a service as the backoffs of a policy, in virtual time: they are kept, and lose nothing."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tenacity.wait import wait_chain, wait_exception, wait_exponential, wait_fixed, wait_none

from msgbus.backoff import Backoff
from msgbus.retry import RetryPolicy
from msgbus.testing.simulation import NO_FAULTS, replay, simulate
from tests.simulation.outage_scenarios import Downstream, Situation
from tests.simulation.partitioned import partitioned

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from msgbus.adapter import Adapter
    from msgbus.message import Message
    from msgbus.testing.simulation import Simulation


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="msgbus")


class Busy(Exception):
    """The error of a service that says when to come again."""

    def __init__(self, after: float) -> None:
        super().__init__(f"after {after:g} s")
        self.after = after


def raises(_: RetryCallState) -> float:
    raise ZeroDivisionError


def cancels(_: RetryCallState) -> float:
    raise asyncio.CancelledError


async def times(simulation: Simulation, policy: RetryPolicy, errors: list[Exception]) -> list[float]:
    """Return the seconds between the calls for one message that fails with ``errors``."""
    at: list[float] = []

    async def callback(message: Message) -> None:
        del message
        at.append(simulation.now)
        if errors:
            raise errors.pop(0)

    publisher = await simulation.broker("publisher")
    await publisher.create_queue("q", groups=["g"])
    await publisher.publish("q", b"x", key="k")
    await simulation.member("q", callback, retry=policy)
    await asyncio.sleep(1900)
    return [round(later - earlier, 6) for earlier, later in pairwise(at)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (wait_none(), [0, 0, 0]),
        (wait_fixed(7), [7, 7, 7]),
        (wait_chain(wait_fixed(1), wait_fixed(10)), [1, 10, 10]),
        (wait_exponential(multiplier=100), [100, 200, 400]),
        (wait_fixed(1e12), [600, 600, 600]),
        (wait_exception(lambda error: getattr(error, "after", 0.0)), [3, 4, 5]),
        (lambda state: state.seconds_since_start + 1, [1, 2, 4]),
        (lambda _: -5, [0, 0, 0]),
        (lambda _: math.inf, [600, 600, 600]),
    ],
)
def test_immediate_retries_follow_the_services_strategy(strategy: Any, expected: list[float]) -> None:
    async def scenario(simulation: Simulation) -> None:
        policy = RetryPolicy(immediate=3, backoff=strategy, delays=())
        assert await times(simulation, policy, [Busy(3), Busy(4), Busy(5)]) == expected

    simulate(scenario, [1], faults=NO_FAULTS)


@pytest.mark.parametrize("adapter", [None, partitioned], ids=["single acknowledgements", "positions"])
@pytest.mark.parametrize("strategy", [raises, cancels, lambda _: math.nan, lambda _: "1 s", wait_none(), lambda _: -1])
def test_no_strategy_loses_a_message(strategy: Any, adapter: Callable[[], Adapter] | None) -> None:
    policy = RetryPolicy(
        immediate=2, backoff=strategy, delays=(1.0,), pause_after=3, probe_backoff=strategy, patience=999
    )

    async def scenario(simulation: Simulation) -> None:
        one = Situation(simulation, Downstream(simulation, back=90.0), policy)
        await one.publish(m=10)
        await one.join()
        await one.join()
        assert await one.until_handled(10, 300) < math.inf
        assert await one.letters() == 0

    simulate(scenario, [1], faults=NO_FAULTS, adapter=adapter)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (wait_fixed(40), [40, 40, 40, 40]),
        (wait_chain(wait_fixed(20), wait_fixed(90)), [20, 90, 90]),
        (wait_exception(lambda error: 50.0 if isinstance(error, ConnectionError) else 1.0), [50, 50]),
        (wait_none(), [0.2] * 100),
        (wait_fixed(1e12), []),
    ],
)
def test_probes_follow_the_services_strategy_after_the_first_minute(strategy: Any, expected: list[float]) -> None:
    async def scenario(simulation: Simulation) -> None:
        asked: list[tuple[float, int, BaseException | None]] = []

        def recorded(state: RetryCallState) -> float:
            assert state.outcome is not None
            asked.append((simulation.now, state.attempt_number, state.outcome.exception()))
            seconds: float = strategy(state)
            return seconds

        async def callback(message: Message) -> None:
            raise ConnectionError(message.id)

        publisher = await simulation.broker("publisher")
        await publisher.create_queue("q", groups=["g"])
        await publisher.publish_many("q", [b"x"] * 20)
        policy = RetryPolicy(immediate=0, delays=(1.0,), pause_after=3, probe_backoff=recorded, patience=300)
        member = await simulation.member("q", callback, retry=policy, concurrency=1)
        await asyncio.sleep(290)
        gaps = [round(later - earlier, 6) for (earlier, *_), (later, *_) in pairwise(asked)]
        assert gaps[: len(expected)] == expected
        assert [number for _, number, _ in asked] == list(range(1, len(asked) + 1))
        assert {type(error) for *_, error in asked} == {ConnectionError}
        assert [one.state for one in (await member.broker.health()).queues] == ["paused"]
        await asyncio.sleep(20)
        assert [one.state for one in (await member.broker.health()).queues] == ["active"], "patience is over"

    simulate(scenario, [1], faults=NO_FAULTS)


def test_a_seed_replays_strategies_that_are_made_of_backoffs() -> None:
    policy = RetryPolicy(immediate=4, backoff=wait_chain(Backoff(1, 5), Backoff(3, 9) + wait_fixed(1)), delays=())
    seen: list[list[float]] = []

    async def scenario(simulation: Simulation) -> None:
        seen.append(await times(simulation, policy, [KeyError() for _ in range(4)]))

    runs = [list(map(repr, replay(scenario, seed, faults=NO_FAULTS))) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert seen[0] == seen[1] != seen[2]
