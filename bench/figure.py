"""One figure, in a process of its own: `python -m bench.figure ORDER`, an order as JSON; prints the figure as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import sys
from dataclasses import asdict, dataclass, field

from bench.cases import CASES, Job
from bench.contender import Place
from bench.contenders import named
from bench.meter import Meter


@dataclass(frozen=True)
class Order:
    """What to measure. ``server`` is the pids whose CPU counts as the server's."""

    broker: str
    contender: str
    case: str
    url: str
    messages: int
    server: list[int]


@dataclass(frozen=True)
class Figure:
    """What was measured; seconds, of all messages together."""

    messages: int
    elapsed: float
    client_cpu: float
    server_cpu: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.elapsed


async def measure(order: Order) -> Figure:
    """The figure. Raises WorkError where the work was not done."""
    case = CASES[order.case]
    place = Place(order.url, f"bench-{secrets.token_hex(6)}", case.at_once)
    job = Job(named(order.broker, order.contender)(place), Meter(order.server), order.messages)
    await job.contender.open()
    try:
        gc.collect()
        await case.run(job)
    finally:
        await job.contender.close()
    meter = job.meter
    return Figure(job.messages, meter.elapsed, meter.client_cpu, meter.server_cpu, job.extra)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(measure(Order(**json.loads(sys.argv[1])))))))
