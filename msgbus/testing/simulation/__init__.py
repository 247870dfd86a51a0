"""Simulation: the shipped code in virtual time and in random order, on a memory server with injected faults.

A scenario is a coroutine function that takes a :class:`Simulation`. :func:`simulate` runs it once for each seed. The
seed decides the order in which ready callbacks run, and the faults. Each run is recorded and checked like any other
recording (``msgbus.testing.verification``)::

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
