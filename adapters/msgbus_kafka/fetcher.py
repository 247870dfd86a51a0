"""What aiokafka's fetcher does differently here.

Fetched records reach their callbacks before anything else is done about them. It tells who waits for records four turns
of the event loop after it has them, and builds the next request before that is over: 0.2 ms, as long as all the rest of
a message's way to its callback. So we are told at once, and the next request waits for us.

Where nothing has come, the next request waits for longer: the server answers it at once when there is something.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["adapt"]

TURNS: Final = 2
"""Of the event loop: from the fetch loop to receive(), and from there to a callback."""
IDLE: Final = 500
"""Milliseconds that a node keeps a request when its last one brought nothing and no records wait to be taken.

Else a partition that is not in the request, since its records wait, would have to wait for its end.
"""


def adapt(consumer: Any, arrived: asyncio.Event) -> None:
    """Set ``arrived`` whenever an AIOKafkaConsumer, which was started, has fetched something."""
    fetcher = consumer._fetcher  # noqa: SLF001
    fetch = fetcher._proc_fetch_request  # noqa: SLF001
    idle: set[Any] = set()

    async def adapted(assignment: Any, node: Any, request: Any) -> bool:
        if node in idle and not fetcher._records:  # noqa: SLF001
            request._max_wait_ms = IDLE  # noqa: SLF001
        fetched: bool = await fetch(assignment, node, request)
        if fetched:
            idle.discard(node)
            arrived.set()
            # That records are taken now shall not have the next request built: the end of this will.
            fetcher._wait_consume_future = None  # noqa: SLF001
            for _ in range(TURNS):
                await asyncio.sleep(0)
        else:
            idle.add(node)
        # aiokafka does it a turn later, and were it woken in between by anything else, it would not ask this node again
        # before 0.2 s are over.
        fetcher._in_flight.discard(node)  # noqa: SLF001
        return fetched

    fetcher._proc_fetch_request = adapted  # noqa: SLF001
