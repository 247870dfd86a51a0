"""Stopping aiokafka's clients within a bound, whatever the servers do.

``stop()`` is never awaited directly. With dead brokers a consumer's leaks a CancelledError that is nobody's and skips
the closing of its connections (8 of 8), with frozen ones it hangs; a producer's hangs while something is pending.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaConnectionError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["stop_client", "stop_consumer", "stop_producer"]

CLOSE: Final = 2.0
"""Seconds for the connections themselves."""


async def stop_client(client: Any) -> None:
    """Close every connection of an AIOKafkaClient."""
    await _bounded(client.close(), CLOSE)
    await _cancel([client._sync_task])  # noqa: SLF001 - close() has been seen to leave it behind


async def stop_consumer(consumer: Any, wait: float) -> None:
    """Leave the group and close; after ``wait`` seconds without leaving."""
    await _bounded(consumer.stop(), wait)
    # stop() marks itself as done first, so there is no second try: what it did not come to is done here.
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001
    leftovers: list[asyncio.Task[Any] | None] = []
    if coordinator is not None:
        leftovers += [
            coordinator._coordination_task,  # noqa: SLF001
            coordinator._heartbeat_task,  # noqa: SLF001
            coordinator._commit_refresh_task,  # noqa: SLF001
        ]
    if fetcher is not None:
        leftovers += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001
    await _cancel(leftovers)
    await stop_client(consumer._client)  # noqa: SLF001


async def stop_producer(producer: Any, wait: float) -> None:
    """Send what is pending and close; after ``wait`` seconds what is still pending fails, its outcome unknown."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=wait)
    if not stopping.done():
        producer._message_accumulator.fail_all(KafkaConnectionError("the producer was closed"))  # noqa: SLF001
        # The sender waits for its requests even when it is cancelled, and they end with their connections.
        await stop_client(producer.client)
        await asyncio.wait({stopping}, timeout=1.0)
    await _cancel([stopping, producer._sender._sender_task])  # noqa: SLF001
    await stop_client(producer.client)


async def _bounded(doing: Coroutine[Any, Any, object], wait: float) -> None:
    task = asyncio.ensure_future(doing)
    await asyncio.wait({task}, timeout=wait)
    await _cancel([task])


async def _cancel(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    alive = {task for task in tasks if task is not None}
    for task in alive:
        task.cancel()
    if alive:
        done, _ = await asyncio.wait(alive, timeout=1.0)
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at: nobody else will
