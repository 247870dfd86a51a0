"""Consuming a backlog, latency, and what a message costs on the memory broker."""

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
    """A backlog of the contender's own publishing, and a callback that does nothing: from the first to the last."""
    await fill(job)
    await drain(job, Tally(job.messages, job.meter))


async def keyed(job: Job) -> None:
    """A callback of 10 ms, 100 at once, 1,000 keys: the ideal is 10,000 a second, with no key out of order."""
    await fill(job)
    await drain(job, Tally(job.messages, job.meter, pause=0.01))
    job.extra["share of the ideal"] = job.messages / job.meter.elapsed / 10_000


async def latency(job: Job) -> None:
    """From just before publish() to the callback, at 200 messages a second, in one process.

    The first does not count: when it was handled, everybody has begun to consume.
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
    """Publish one, see it handled, publish the next: both ways through the event loop each time."""
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
    """publish_many() of all and consume to the last acknowledgement, elapsed by messages.

    What the benchmark has to do itself, making the messages and checking them, comes before and after. As many go
    before them: so the interpreter knows the code, and the process has its memory.
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
