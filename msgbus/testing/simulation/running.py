"""Scenarios run by seeds and judged: the seed that breaks the promise is named, and replays it."""

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
    """What one seed did."""

    seed: object
    trace: str
    """A checksum of everything that was recorded, with its times."""
    schedule: str
    """A checksum of what happened in which order, whatever its times."""


def simulate(
    scenario: Scenario,
    seeds: Iterable[object] = range(100),
    *,
    faults: Faults | None = None,
    adapter: Callable[[], Adapter] | None = None,
) -> list[Run]:
    """Run ``scenario`` once for each seed, and judge each run when everything has ended.

    Raises AssertionError at the first seed that breaks the promise or the scenario, with the report; the same seed
    replays it, in any process. ``faults`` says how likely they are; ``adapter`` makes
    what each broker connects with; default: the memory broker's.
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
    """What was recorded in one run. Raises AssertionError, naming the seed, when the scenario raises."""

    async def main() -> list[Event]:
        simulation = Simulation(seed, faults or Faults(), adapter or memory())
        await scenario(simulation)
        await simulation.finish()
        return simulation.events

    try:
        return run(seed, main())
    except Exception as error:
        raise AssertionError(f"seed {seed!r}: the scenario was broken off: {error!r}") from error


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
