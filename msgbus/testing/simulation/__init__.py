"""The same code in no time and in every order: members that join, leave and crash on a server that fails, by seeds.

A scenario is a coroutine function of a Simulation. simulate() runs it once for each seed, in an event loop in which
time jumps and the order is drawn, and has what happened judged like any other history::

    async def scenario(simulation):
        publisher = await simulation.broker("publisher")
        await publisher.create_queue("orders", groups=["g"])
        first = await simulation.member("orders", simulation.callback())
        await simulation.member("orders", simulation.callback())
        for n in range(40):
            await publisher.publish("orders", str(n), key=str(n % 4))
        await first.crash()

    simulate(scenario, seeds=range(1000))
"""

from msgbus.testing.simulation.faulty import NO_FAULTS, Faults
from msgbus.testing.simulation.loop import SeededLoop, SimulationDeadlock, run
from msgbus.testing.simulation.running import Run, replay, simulate
from msgbus.testing.simulation.world import SimulatedMember, Simulation

__all__ = [
    "NO_FAULTS",
    "Faults",
    "Run",
    "SeededLoop",
    "SimulatedMember",
    "Simulation",
    "SimulationDeadlock",
    "replay",
    "run",
    "simulate",
]
