"""Cases of standing costs: a large backlog, empty queues, and messages that wait for a retry."""

from __future__ import annotations

import asyncio
import gc
import resource
from typing import TYPE_CHECKING, Final, cast

from bench.cases.case import finish
from bench.errand import send
from bench.meter import Meter, resident
from bench.work import Tally, WorkError, items

if TYPE_CHECKING:
    from bench.cases.case import Job
    from bench.contenders.msgbus_ import Msgbus

FIRST: Final = 20
"""Memory is first measured when 1/20 of the backlog is handled: 50,000 of 1,000,000."""
REST_SECONDS: Final = 3.0
"""Seconds of measuring at rest; a smaller share of messages shortens it."""
WARM_MESSAGES: Final = 2000
"""Messages until a consumer has reached its rate."""
DELAY_SECONDS: Final = 1800.0
"""Delay of messages that wait: longer than the case takes."""


async def backlog(job: Job) -> None:
    """Measure the memory of a consumer with a large backlog, which another process has published."""
    await send("fill", job.order, job.contender.place)
    tally = Tally(job.messages, job.meter, keep_latencies=False)
    seen: list[float] = []

    async def handle(body: dict[str, object]) -> None:
        await tally.handle(body)
        if tally.handled in {job.messages // FIRST, job.messages}:
            gc.collect()
            seen.append(resident())

    await job.contender.consume(handle)
    await finish(job, tally)
    first, last = seen
    job.extra |= {"MB after the first 20th": first, "MB apart": abs(last - first)}
    job.extra["msg/s"] = job.messages / job.meter.elapsed
    job.tell(last, "MB at the end")


async def idle(job: Job) -> None:
    """Measure queues that stay empty, each with a consumer: the CPU of both sides, and wake-ups of the client."""

    async def never(body: dict[str, object]) -> None:
        raise WorkError(f"nobody published {body}")

    before = await _rest(job)
    job.queues = job.contender.place.numbered(job.messages)
    await job.contender.watch(job.queues, never)
    await asyncio.sleep(1)  # the start has ended then
    await _at_rest(job, before)
    await job.contender.stop()


async def retries(job: Job) -> None:
    """Measure new messages beside as many that wait for a retry, against new ones alone, and the CPU of waiting."""
    contender = cast("Msgbus", job.contender)
    before = await _rest(job)
    few, alone, beside = Tally(WARM_MESSAGES, Meter([])), Tally(job.messages, Meter([])), Tally(job.messages, Meter([]))
    current = few

    async def handle(body: dict[str, object]) -> None:
        await current.handle(body)

    await contender.consume(handle)
    await _fresh(job, few)
    current = alone
    rate = await _fresh(job, alone)
    await contender.publish_later(list(items(job.messages)), DELAY_SECONDS)
    async with asyncio.timeout(job.order.patience):
        while await contender.pending():
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # the last ones are in the retry queue then
    await _at_rest(job, before)
    current = beside
    job.extra["of the rate without"] = await _fresh(job, beside) / rate
    await finish(job, beside)
    if (found := await contender.waiting()) != job.messages:
        raise WorkError(f"{found} wait instead of {job.messages}")


async def _fresh(job: Job, tally: Tally) -> float:
    """Return the messages a second when they are published and handled at the same time."""
    begun = Meter([])
    begun.start()
    await job.contender.publish_many(list(items(tally.expected)))
    async with asyncio.timeout(job.order.patience):
        await tally.done.wait()
    begun.stop()
    return tally.expected / begun.elapsed


async def _rest(job: Job) -> float:
    """Return the CPU milliseconds that an idle server uses in a second."""
    meter = Meter(job.order.server, fine=True)
    meter.start()
    await asyncio.sleep(max(REST_SECONDS * job.order.share, 0.5))
    meter.stop()
    return meter.server_cpu / meter.elapsed * 1000


async def _at_rest(job: Job, before: float) -> None:
    woken = _wakeups()
    meter = Meter(job.order.server, fine=True)
    meter.start()
    await asyncio.sleep(max(REST_SECONDS * job.order.share, 0.5))
    meter.stop()
    job.meter.take(meter)
    job.extra |= {
        "server CPU ms/s more than before": meter.server_cpu / meter.elapsed * 1000 - before,
        "wake-ups/s": (_wakeups() - woken) / meter.elapsed,
    }
    job.tell(meter.client_cpu / meter.elapsed * 1000, "client CPU ms/s")


def _wakeups() -> int:
    """Return how often this process has waited so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
