"""Cases of publishing: each message is confirmed, and afterwards all are on the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.cases.case import all_there, fill, warm
from bench.work import items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.cases.case import Job
    from bench.contender import Item


async def awaiting(job: Job) -> None:
    """Publish one message after another, each confirmed before the next."""
    await warm(job)
    job.meter.start()
    for one in items(job.messages):
        await job.contender.publish(one)
    job.meter.stop()
    await all_there(job)


async def in_flight_100(job: Job) -> None:
    """Publish by 100 tasks, each one message after another: 100 are always in flight."""
    await _in_flight(job, 100)


async def in_flight_1000(job: Job) -> None:
    """Publish by 1,000 tasks, each one message after another."""
    await _in_flight(job, 1000)


async def many(job: Job) -> None:
    """Publish batches of 10,000 by the fastest way that the library has."""
    await warm(job)
    job.meter.start()
    await fill(job)
    job.meter.stop()
    await all_there(job)


async def _in_flight(job: Job, width: int) -> None:
    async def publisher(left: Iterator[Item]) -> None:
        for one in left:
            await job.contender.publish(one)

    left = items(job.messages)
    await warm(job)
    job.meter.start()
    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(publisher(left))
    job.meter.stop()
    await all_there(job)
