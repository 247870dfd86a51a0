"""What is measured: each case is a coroutine over the verbs of a contender, and says why it is fair."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from bench.work import Tally, WorkError, item, items

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from bench.contender import Contender, Item
    from bench.meter import Meter

BATCH: Final = 10_000
PATIENCE: Final = 60.0
"""Seconds that one figure may take."""


@dataclass
class Job:
    """One figure to be made."""

    contender: Contender
    meter: Meter
    messages: int
    extra: dict[str, float] = field(default_factory=dict)


async def publish_awaiting(job: Job) -> None:
    """One after another, each confirmed before the next."""
    await _warm(job)
    job.meter.start()
    for one in items(job.messages):
        await job.contender.publish(one)
    job.meter.stop()
    await _all_there(job)


async def publish_100(job: Job) -> None:
    """100 tasks, each publishing one after another: 100 are always under way."""
    await _in_flight(job, 100)


async def publish_1000(job: Job) -> None:
    """1,000 tasks, each publishing one after another."""
    await _in_flight(job, 1000)


async def publish_many(job: Job) -> None:
    """Batches of 10,000 by the fastest way the library has."""
    await _warm(job)
    job.meter.start()
    await _fill(job)
    job.meter.stop()
    await _all_there(job)


async def consume_trivial(job: Job) -> None:
    """A backlog of the contender's own publishing, and a callback that does nothing: from the first to the last."""
    await _fill(job)
    await _drain(job, Tally(job.messages, job.meter))


async def consume_keyed(job: Job) -> None:
    """A callback of 10 ms, 100 at once, 1,000 keys: the ideal is 10,000 a second, with no key out of order."""
    await _fill(job)
    await _drain(job, Tally(job.messages, job.meter, pause=0.01))
    job.extra["share of the ideal"] = job.messages / job.meter.elapsed / 10_000


async def latency_200(job: Job) -> None:
    """From just before publish() to the callback, at 200 messages a second, in one process."""
    tally = Tally(job.messages, job.meter)
    await job.contender.consume(tally.handle)
    for one in items(job.messages):
        await asyncio.gather(job.contender.publish(one), asyncio.sleep(0.005))
    await _finish(job, tally)
    _latencies(job, tally)


async def memory_one(job: Job) -> None:
    """Publish one, see it handled, publish the next: what one message costs from end to end."""
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
    await _nothing_pending(job)


async def memory_keyed(job: Job) -> None:
    """publish_many() of all and consume with 1,000 keys to the last acknowledgement, elapsed by messages."""
    tally = Tally(job.messages, type(job.meter)([]))
    job.meter.start()
    await job.contender.consume(tally.handle)
    await _fill(job)
    async with asyncio.timeout(PATIENCE):
        await tally.done.wait()
    await job.contender.stop()
    job.meter.stop()
    tally.check(await job.contender.pending())
    _order(job, tally)


@dataclass(frozen=True)
class Case:
    """A case, and how many messages make a figure of some seconds (``quick``: of half a second)."""

    run: Callable[[Job], Awaitable[None]]
    messages: Mapping[str, int]
    at_once: int = 1
    variants: bool = False
    """Whether ways of acknowledging differ here."""
    slow: float = 1.0
    """The share of the messages for who commits each on Kafka (6 ms): rates are compared, not times."""

    def suits(self, who: str) -> bool:
        """Whether this contender has a figure of its own here."""
        return self.variants or who in {"raw", "faststream", "msgbus"}

    def count(self, broker: str, who: str) -> int:
        """How many messages make its figure."""
        committing = broker == "kafka" and who in {"raw", "faststream"}
        return int(self.messages[broker] * (self.slow if committing else 1))


CASES: Final[Mapping[str, Case]] = {
    "publish, awaiting each": Case(
        publish_awaiting, {"memory": 50_000, "redis": 20_000, "rabbitmq": 3000, "kafka": 8000}
    ),
    "publish, 100 in flight": Case(publish_100, {"redis": 50_000, "rabbitmq": 15_000, "kafka": 60_000}),
    "publish, 1000 in flight": Case(publish_1000, {"redis": 50_000, "rabbitmq": 15_000, "kafka": 60_000}),
    "publish_many": Case(publish_many, {"redis": 50_000, "rabbitmq": 15_000, "kafka": 60_000}),
    "consume, trivial callback": Case(
        consume_trivial, {"redis": 50_000, "rabbitmq": 20_000, "kafka": 60_000}, variants=True, slow=0.01
    ),
    "consume, 10 ms, 1000 keys": Case(
        consume_keyed, {"redis": 20_000, "rabbitmq": 20_000, "kafka": 20_000}, at_once=100
    ),
    "latency at 200 a second": Case(latency_200, {"redis": 1000, "rabbitmq": 1000, "kafka": 1000}),
    "one after another": Case(memory_one, {"memory": 50_000}),
    "keyed": Case(memory_keyed, {"memory": 10_000}, at_once=100),
}


async def _in_flight(job: Job, width: int) -> None:
    async def publisher(left: Iterator[Item]) -> None:
        for one in left:
            await job.contender.publish(one)

    left = items(job.messages)
    await _warm(job)
    job.meter.start()
    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(publisher(left))
    job.meter.stop()
    await _all_there(job)


async def _fill(job: Job) -> None:
    left = items(job.messages)
    while batch := list(islice(left, BATCH)):
        await job.contender.publish_many(batch)


async def _drain(job: Job, tally: Tally) -> None:
    await job.contender.consume(tally.handle)
    await _finish(job, tally)


async def _finish(job: Job, tally: Tally) -> None:
    async with asyncio.timeout(PATIENCE):
        await tally.done.wait()
    await job.contender.stop()
    tally.check(await job.contender.pending())
    _order(job, tally)


def _order(job: Job, tally: Tally) -> None:
    job.extra["order violations"] = tally.disorder


def _latencies(job: Job, tally: Tally) -> None:
    cuts = statistics.quantiles(tally.latencies, n=100)
    job.extra |= {"p50 ms": cuts[49] * 1000, "p99 ms": cuts[98] * 1000}


async def _warm(job: Job) -> None:
    """One message that is not measured: whatever a first one opens is open."""
    await job.contender.publish(item(0, 1))


async def _all_there(job: Job) -> None:
    """What was published is what the group has before it."""
    if (found := await job.contender.pending()) != job.messages + 1:
        raise WorkError(f"{job.messages + 1} published, {found} on the server")


async def _nothing_pending(job: Job) -> None:
    if found := await job.contender.pending():
        raise WorkError(f"{found} not acknowledged")
