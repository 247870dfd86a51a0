"""Case and job, and steps that several cases share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bench.work import WorkError, item, items

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bench.contender import Contender
    from bench.figure import Order
    from bench.meter import Meter
    from bench.work import Tally

BATCH: Final = 10_000
RATE: Final = "msg/s"
PLAIN: Final = ("raw", "faststream", "msgbus")
OURS: Final = ("msgbus",)


@dataclass
class Job:
    """One figure to be measured. Without a ``value`` the figure is the rate: messages by elapsed seconds."""

    order: Order
    contender: Contender
    meter: Meter
    extra: dict[str, float] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    unit: str = RATE
    queues: list[str] = field(default_factory=list)
    """Queues to be deleted in the end, besides the place's own."""

    @property
    def messages(self) -> int:
        """Messages that make the figure."""
        return self.order.messages

    def tell(self, value: float, unit: str) -> None:
        """Set a figure that is not a rate."""
        self.value, self.unit = value, unit


@dataclass(frozen=True)
class Case:
    """A case: the messages by broker that make a figure of one to three seconds, and the contenders."""

    run: Callable[[Job], Awaitable[None]]
    messages: Mapping[str, int]
    at_once: int = 1
    who: tuple[str, ...] = PLAIN
    apart: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Contenders instead of ``who``, by broker."""
    share: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    """Fraction of the messages for a contender that is slower or faster than the others: rates are compared."""
    quick: float = 0.2
    """Fraction of the messages in a quick run."""
    quick_who: tuple[str, ...] = ()
    """Contenders of a quick run, if not all."""
    least: int = 100
    once: bool = False
    """One round is enough: the case is long, and no ratio is made of its figures."""
    patience: float = 60.0
    """Seconds that the work may take."""

    def contenders(self, broker: str, *, quick: bool = False) -> tuple[str, ...]:
        """Return the contenders that are measured on a broker."""
        if broker not in self.messages:
            return ()
        return (self.quick_who if quick else ()) or self.apart.get(broker, self.who)

    def count(self, broker: str, who: str, share: float = 1.0) -> int:
        """Return the number of messages for a contender's figure."""
        return max(self.least, int(self.messages[broker] * self.share.get((broker, who), 1.0) * share))


async def fill(job: Job) -> None:
    """Publish all messages by publish_many()."""
    left = items(job.messages)
    while batch := list(islice(left, BATCH)):
        await job.contender.publish_many(batch)


async def drain(job: Job, tally: Tally) -> None:
    """Consume the backlog and check it."""
    await job.contender.consume(tally.handle)
    await finish(job, tally)


async def finish(job: Job, tally: Tally) -> None:
    """Wait until all messages are handled, and check them."""
    async with asyncio.timeout(job.order.patience):
        await tally.done.wait()
    await job.contender.stop()
    tally.check(await job.contender.pending())
    job.extra["order violations"] = tally.disorder


async def warm(job: Job) -> None:
    """Publish one message that is not measured, so that connections are open."""
    await job.contender.publish(item(0, 1))


async def all_there(job: Job) -> None:
    """Check that all published messages are on the server."""
    if (found := await job.contender.pending()) != job.messages + 1:
        raise WorkError(f"{job.messages + 1} published, {found} on the server")


async def nothing_pending(job: Job) -> None:
    """Check that all messages are acknowledged."""
    if found := await job.contender.pending():
        raise WorkError(f"{found} not acknowledged")
