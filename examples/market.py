"""Shared parts of both programs: the queues of one run, publishing purchases, and waiting for the notifications."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from examples.loyalty.service import AWARDS, PURCHASES
from examples.loyalty.service import GROUP as LOYALTY
from examples.notification.service import GROUP as NOTIFICATION
from msgbus import Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from examples.purchases import Purchase
    from msgbus import Broker

__all__ = ["Stalled", "Watch", "fresh_exchange", "open_queues", "progress", "publish"]

IN_FLIGHT: Final = 500
"""Purchases in one publish_many() call."""
STALL_TIMEOUT_SECONDS: Final = 60.0
"""Seconds without a new notification after which the run has failed: longer than any session takes to expire."""


class Stalled(Exception):
    """There was no progress for `STALL_TIMEOUT_SECONDS`."""


def fresh_exchange(word: str) -> str:
    """Return an exchange name of its own for this run, so that queues of earlier runs are not used."""
    return f"{word}-{secrets.token_hex(3)}"


async def open_queues(broker: Broker, exchange: str) -> None:
    """Create the queues of one run and their groups."""
    await broker.create_queue(PURCHASES, groups=[LOYALTY], exchange=exchange)
    await broker.create_queue(AWARDS, groups=[NOTIFICATION], exchange=exchange)


async def publish(broker: Broker, purchases: Sequence[Purchase], exchange: str, advance: Callable[[int], None]) -> None:
    """Publish all purchases. Raises the first publish result that is an error."""
    for first in range(0, len(purchases), IN_FLIGHT):
        part = purchases[first : first + IN_FLIGHT]
        messages = [Publication({"cents": one.cents}, message_id=str(one.id), key=one.customer) for one in part]
        for result in await broker.publish_many(PURCHASES, messages, exchange=exchange):
            if result is not None:
                raise result
        advance(len(part))


class Watch:
    """Counts notifications and waits for the last."""

    def __init__(self, expected: int, advance: Callable[[int], None]) -> None:
        self._expected = expected
        self._advance = advance
        self._event = asyncio.Event()
        self.seen = 0

    def written(self) -> None:
        """Count one notification."""
        self.seen += 1
        self._advance(1)
        self._event.set()

    async def all(self, but: int = 0) -> None:
        """Wait until only ``but`` notifications are missing. Raises Stalled."""
        while self.seen < self._expected - but:
            self._event.clear()
            try:
                async with asyncio.timeout(STALL_TIMEOUT_SECONDS):
                    await self._event.wait()
            except TimeoutError:
                raise Stalled(
                    f"{self.seen:,} of {self._expected:,} after {STALL_TIMEOUT_SECONDS:g} s without a new one"
                ) from None


class _Bars(Protocol):
    def __call__(self, what: str) -> Callable[[int], None]: ...


@contextmanager
def progress(total: int) -> Generator[_Bars]:
    """Yield a function that makes progress bars of ``total`` steps; they are shown on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stdout.isatty()) as shown:

        def bar(what: str) -> Callable[[int], None]:
            task = shown.add_task(what, total=total)
            return lambda count: shown.advance(task, count)

        yield bar
