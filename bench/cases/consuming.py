"""Cases of consuming: a backlog, latency, and the cost of a message on the memory broker."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from bench.cases.case import drain, fill, finish, nothing_pending
from bench.meter import Meter
from bench.work import Tally, items

if TYPE_CHECKING:
    from bench.cases.case import Job


async def trivial(job: Job) -> None:
    """Measure a backlog that the contender published, with an empty callback, from the first to the last message."""
    await fill(job)
    await drain(job, Tally(job.messages, job.meter))


async def keyed(job: Job) -> None:
    """Measure a callback of 10 ms, 100 at once, 1,000 keys: the ideal is 10,000 a second, with every key in order."""
    await fill(job)
    await drain(job, Tally(job.messages, job.meter, pause=0.01))
    job.extra["share of the ideal"] = job.messages / job.meter.elapsed / 10_000


async def latency(job: Job) -> None:
    """Measure the time from just before publish() to the callback, at 200 messages a second, in one process.

    The first message does not count: its callback shows that the contender has begun to consume.
    """
    tally, begun = Tally(job.messages, job.meter), asyncio.Event()

    async def handle(body: dict[str, object]) -> None:
        await tally.handle(body)
        begun.set()

    await job.contender.consume(handle)
    left = items(job.messages)
    await job.contender.publish(next(left))
    async with asyncio.timeout(job.order.patience):
        await begun.wait()
    for one in left:
        await asyncio.gather(job.contender.publish(one), asyncio.sleep(0.005))
    await finish(job, tally)
    cuts = statistics.quantiles(tally.latencies[1:], n=100)
    job.extra |= {"p50 ms": cuts[49] * 1000, "p99 ms": cuts[98] * 1000}
    job.tell(job.extra["p50 ms"], "ms (p50)")


async def there_and_back(job: Job) -> None:
    """Publish one message, wait until it is handled, publish the next: both ways through the event loop each time."""
    arrived = asyncio.Event()

    async def handle(body: dict[str, object]) -> None:
        del body
        arrived.set()

    await job.contender.consume(handle)
    job.meter.start()
    for one in items(job.messages):
        await job.contender.publish(one)
        await arrived.wait()
        arrived.clear()
    job.meter.stop()
    await job.contender.stop()
    await nothing_pending(job)
    _cost(job)


async def through(job: Job) -> None:
    """Measure publish_many() of all messages and consuming up to the last acknowledgement: elapsed by messages.

    The benchmark's own work, making and checking the messages, is done before and after. As many messages go first
    without being measured, so that the code is warm and the process has its memory.
    """
    handled: list[dict[str, object]] = []
    arrived = asyncio.Event()

    async def keep(body: dict[str, object]) -> None:
        handled.append(body)
        if len(handled) == job.messages:
            arrived.set()

    await job.contender.consume(keep)
    for _ in range(2):
        wanted = list(items(job.messages))
        arrived.clear()
        handled.clear()
        job.meter.start()
        await job.contender.publish_many(wanted)
        async with asyncio.timeout(job.order.patience):
            await arrived.wait()
    await job.contender.stop()
    job.meter.stop()
    tally = Tally(job.messages, Meter([]))
    for body in handled:
        await tally.handle(body)
    tally.check(await job.contender.pending())
    job.extra["order violations"] = tally.disorder
    _cost(job)


def _cost(job: Job) -> None:
    job.tell(job.meter.elapsed / job.messages * 1e6, "µs a message")
