"""A service whose callback always fails, until SIGTERM.

Run as ``python -m tests.support.processes.failing_service URL QUEUE``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from msgbus.registry import connect
from msgbus.retry import RetryPolicy

if TYPE_CHECKING:
    from msgbus.message import Message

GROUP = "g"
POLICY = RetryPolicy(immediate=0, delays=(2.0, 2.0), pause_after=None)
"""Three attempts, and time between them to stop and start the service."""


async def _fail(message: Message) -> None:
    sys.stdout.write(f"{message.attempt}\n")
    sys.stdout.flush()
    raise ValueError("told to")


async def _run(url: str, queue: str) -> None:
    broker = connect(url, group=GROUP)
    await broker.consume(queue, _fail, retry=POLICY)
    await broker.run()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
