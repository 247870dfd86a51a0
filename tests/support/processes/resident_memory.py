"""A process that publishes on ``memory://`` and prints its resident memory in MiB after each number of messages.

Run as ``python -m tests.support.processes.resident_memory handled|groupless|stuck NUMBER...``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgbus.publishing.publication import Publication
from msgbus.registry import connect

if TYPE_CHECKING:
    from msgbus.broker import Broker
    from msgbus.message import Message

QUEUE: Final = "purchases"
BATCH: Final = 1000
BODY: Final = b"x" * 100


class Group:
    """Callback of the only group; one message is never finished where ``stuck``."""

    def __init__(self, *, stuck: bool) -> None:
        self._stuck = stuck
        self._handled = 0
        self._changed = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        """Count the message."""
        if self._stuck and message.key == "stuck":
            await asyncio.Event().wait()
        self._handled += 1
        self._changed.set()

    async def until(self, count: int) -> None:
        """Wait until so many are handled."""
        while self._handled < count:
            self._changed.clear()
            await self._changed.wait()


async def _run(case: str, *numbers: str) -> None:
    async with connect("memory://", group="g", grace=0) as broker:
        await broker.create_queue(QUEUE)
        group = Group(stuck=case == "stuck")
        if case != "groupless":
            await broker.publish(QUEUE, BODY, key=case)
            subscription = await broker.consume(QUEUE, group)
            await subscription.ready()
        published = 0
        for number in map(int, numbers):
            while published < number:
                await _publish(broker, published)
                published += BATCH
                if case != "groupless":
                    await group.until(published)
            sys.stdout.write(f"{_resident() / 2**20:.1f}\n")
            sys.stdout.flush()


async def _publish(broker: Broker, first: int) -> None:
    messages = [Publication(BODY, key=f"customer-{number}") for number in range(first, first + BATCH)]
    results = await broker.publish_many(QUEUE, messages)
    assert not any(results), results


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
