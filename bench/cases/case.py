"""What a case is, and the verbs that several have in common."""

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
    """One figure to be made. Without a ``value`` it is the rate: messages by what the meter saw."""

    order: Order
    contender: Contender
    meter: Meter
    extra: dict[str, float] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    unit: str = RATE
    queues: list[str] = field(default_factory=list)
    """To be deleted in the end, beside the place's own."""

    @property
    def messages(self) -> int:
        """How many there are to be."""
        return self.order.messages

    def tell(self, value: float, unit: str) -> None:
        """The figure is no rate."""
        self.value, self.unit = value, unit


@dataclass(frozen=True)
class Case:
    """A case: by broker how many messages make a figure of one to three seconds, and who takes part."""

    run: Callable[[Job], Awaitable[None]]
    messages: Mapping[str, int]
    at_once: int = 1
    who: tuple[str, ...] = PLAIN
    apart: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Who takes part instead, by broker."""
    share: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))
    """Of the messages, for a broker's contender that is slower or faster than the others: rates are compared."""
    quick: float = 0.2
    """Of the messages, where there is little time."""
    quick_who: tuple[str, ...] = ()
    """Who takes part then, if not everybody."""
    least: int = 100
    once: bool = False
    """One round is enough: it is no ratio, and long."""
    patience: float = 60.0
    """Seconds that the work may take."""

    def contenders(self, broker: str, *, quick: bool = False) -> tuple[str, ...]:
        """Who has a figure here."""
        if broker not in self.messages:
            return ()
        return (self.quick_who if quick else ()) or self.apart.get(broker, self.who)

    def count(self, broker: str, who: str, share: float = 1.0) -> int:
        """How many messages make its figure."""
        return max(self.least, int(self.messages[broker] * self.share.get((broker, who), 1.0) * share))


async def fill(job: Job) -> None:
    """Publish all, the fastest way."""
    left = items(job.messages)
    while batch := list(islice(left, BATCH)):
        await job.contender.publish_many(batch)


async def drain(job: Job, tally: Tally) -> None:
    """Consume what is there, and check it."""
    await job.contender.consume(tally.handle)
    await finish(job, tally)


async def finish(job: Job, tally: Tally) -> None:
    """Wait until all was handled, and check it."""
    async with asyncio.timeout(job.order.patience):
        await tally.done.wait()
    await job.contender.stop()
    tally.check(await job.contender.pending())
    job.extra["order violations"] = tally.disorder


async def warm(job: Job) -> None:
    """One message that is not measured: whatever a first one opens is open."""
    await job.contender.publish(item(0, 1))


async def all_there(job: Job) -> None:
    """What was published is what the group has before it."""
    if (found := await job.contender.pending()) != job.messages + 1:
        raise WorkError(f"{job.messages + 1} published, {found} on the server")


async def nothing_pending(job: Job) -> None:
    """Everything was acknowledged."""
    if found := await job.contender.pending():
        raise WorkError(f"{found} not acknowledged")
