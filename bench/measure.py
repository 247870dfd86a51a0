"""One figure in a process of its own: `python -m bench.measure ORDER` takes an order and prints a figure, as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import sys
from dataclasses import asdict

from bench.asked import asked
from bench.cases import CASES
from bench.cases.case import Job
from bench.contender import Place
from bench.contenders import named
from bench.figure import Figure, Order
from bench.meter import Meter


async def measure(order: Order) -> Figure:
    """Measure a figure and delete its queues. Raises WorkError where the work was not done."""
    case = CASES[order.case]
    place = Place(order.url, f"bench-{secrets.token_hex(6)}", case.at_once)
    job = Job(order, named(order.broker, order.contender)(place), Meter(order.server))
    await job.contender.open()
    try:
        gc.collect()
        await case.run(job)
    finally:
        await job.contender.close()
        if order.broker != "memory":
            await asked(order.broker).sweep(order.url, [place.queue, *job.queues])
    return _figure(job)


def _figure(job: Job) -> Figure:
    meter = job.meter
    value = job.messages / meter.elapsed if job.value is None else job.value
    return Figure(
        job.messages, meter.elapsed, meter.client_cpu, meter.server_cpu, value, job.unit, job.extra, job.profile
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(measure(Order(**json.loads(sys.argv[1])))))))
