"""Runner of scenarios: one run per seed; a failure names the seed, which replays it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgbus.testing.simulation.faulty import Faults
from msgbus.testing.simulation.loop import run
from msgbus.testing.simulation.world import Simulation, memory
from msgbus.testing.verification import check, report
from msgbus.testing.verification.events import as_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from msgbus.adapter import Adapter
    from msgbus.testing.verification import Event

    Scenario = Callable[[Simulation], Awaitable[None]]

__all__ = ["Run", "replay", "simulate"]


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one seed."""

    seed: object
    trace: str
    """Checksum of all recorded events with their times."""
    schedule: str
    """Checksum of the order of events, without their times."""


def simulate(
    scenario: Scenario,
    seeds: Iterable[object] = range(100),
    *,
    faults: Faults | None = None,
    adapter: Callable[[], Adapter] | None = None,
) -> list[Run]:
    """Run ``scenario`` once for each seed, and check each run when everything has ended.

    Args:
        scenario: The scenario.
        seeds: One run is made for each. The same seed gives the same run, in any process.
        faults: Probabilities of injected faults.
        adapter: Makes the adapter of each broker; default: the memory adapter.

    Returns:
        The result of each run, in the order of ``seeds``.

    Raises:
        AssertionError: A run broke the promise or the scenario raised; with the seed and the report.
    """
    make = adapter or memory()
    return [_judged(seed, replay(scenario, seed, faults=faults, adapter=make)) for seed in seeds]


def replay(
    scenario: Scenario,
    seed: object,
    *,
    faults: Faults | None = None,
    adapter: Callable[[], Adapter] | None = None,
) -> list[Event]:
    """Run a scenario once, without checking it.

    Args:
        scenario: The scenario.
        seed: Decides the order in which ready callbacks run, and the faults.
        faults: Probabilities of injected faults.
        adapter: Makes the adapter of each broker; default: the memory adapter.

    Returns:
        The recorded events.

    Raises:
        AssertionError: The scenario raised; the text names the seed.
    """

    async def main() -> list[Event]:
        simulation = Simulation(seed, faults or Faults(), adapter or memory())
        await scenario(simulation)
        await simulation.finish()
        return simulation.events

    try:
        return run(seed, main())
    except Exception as error:
        raise AssertionError(f"seed {seed!r}: the scenario raised: {error!r}") from error


def _judged(seed: object, events: Sequence[Event]) -> Run:
    findings = check(events)
    if findings:
        raise AssertionError(
            f"seed {seed!r} breaks the promise; seeds=[{seed!r}] replays it\n{report(events, findings)}"
        )
    trace, schedule = blake2b(digest_size=16), blake2b(digest_size=16)
    for event in events:
        trace.update(as_line(event))
        schedule.update(f"{event.kind} {event.member} {event.queue} {event.part} {event.id}\n".encode())
    return Run(seed, trace.hexdigest(), schedule.hexdigest())
