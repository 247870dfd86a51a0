"""Shutdown of aiokafka's clients within a bound, whatever the servers do.

aiokafka 0.14: ``stop()`` is never awaited without a bound. With dead brokers a consumer's raises a CancelledError of
its own and skips the closing of its connections (8 of 8); with frozen brokers it hangs. A producer's hangs while a
batch is pending. Tests: test_shutdown.py, and "closing takes seconds when the server is gone" in
test_adapter.py. Remove when ``stop()`` takes a timeout and closes every connection and task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaConnectionError

from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of, flush_fallback

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from msgbus_kafka.aiokafka_internals.producer_path import Producer
    from msgbus_kafka.client_types.consumer import ConsumerClient, Fetcher
    from msgbus_kafka.client_types.network import Connection, NetworkClient

__all__ = ["abort_connection", "stop_client", "stop_consumer", "stop_producer"]

CLOSE_TIMEOUT_SECONDS: Final = 2.0
"""Seconds for the connections themselves."""


def abort_connection(connection: Connection, _: object = None) -> None:
    """Abort the socket of a closed AIOKafkaConnection.

    Otherwise it stays open until the server has read everything, and with TLS until the server agrees or for 30 s. A
    frozen server does neither, and the event loop may end before.
    """
    transport = connection._protocol._transport  # a closed connection has no writer
    if transport is not None:
        transport.abort()


async def stop_client(client: NetworkClient) -> None:
    """Close every connection of an AIOKafkaClient, and prevent new ones."""
    making = client._get_conn_lock.locked()
    client._get_conn = _refuse_connection
    await _bounded(client.close(), CLOSE_TIMEOUT_SECONDS)
    if making:
        await _bounded(_close_late(client), CLOSE_TIMEOUT_SECONDS)
    await _cancel([client._sync_task])  # close() has been seen to leave it behind
    update = client._md_update_fut
    if update is not None and not update.done():
        update.set_result(False)  # callers that wait for metadata would wait indefinitely


async def stop_consumer(consumer: ConsumerClient, wait: float) -> None:
    """Leave the group and close; after ``wait`` seconds, close without leaving."""
    await _bounded(consumer.stop(), wait)
    # stop() marks the consumer as closed first, so a second call does nothing: the rest is closed here.
    coordinator = consumer._coordinator
    fetcher: Fetcher | None = consumer._fetcher  # None before start()
    leftovers: list[asyncio.Task[None] | None] = []
    # A client without a group has only some of these.
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    leftovers += [getattr(coordinator, name, None) for name in names]
    if fetcher is not None:
        leftovers += [fetcher._fetch_task, *fetcher._pending_tasks]
    await _cancel(leftovers)
    await stop_client(consumer._client)


async def stop_producer(producer: Producer, wait: float, hurry: asyncio.Future[None] | None = None) -> None:
    """Send pending batches and close; after ``wait`` seconds pending batches fail, their outcome unknown.

    They fail at once when ``hurry`` is done, or when the call is cancelled: it closes before it ends.
    """
    stopping = asyncio.ensure_future(_flush_and_stop(producer))
    try:
        waited = {stopping} if hurry is None else {stopping, hurry}
        await asyncio.wait(waited, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not stopping.done():
            # In this order: requests end with their connections, and the sender ends with its requests. Only batches
            # that are in no request any more may fail, since no answer can confirm them.
            await stop_client(producer.client)
            await _cancel([producer._sender._sender_task])
            accumulator_of(producer).fail_all(KafkaConnectionError("the producer was closed"))
            await asyncio.wait({stopping}, timeout=1.0)
        await _cancel([stopping, producer._sender._sender_task])
        await stop_client(producer.client)


async def _flush_and_stop(producer: Producer) -> None:
    await flush_fallback(producer)
    await producer.stop()


async def _refuse_connection(*_: object, **__: object) -> None:
    """Return no connection: aiokafka then treats the node as not ready."""


async def _close_late(client: NetworkClient) -> None:
    async with client._get_conn_lock:  # one was being made
        for connection in client._conns.values():
            connection.close()


async def _bounded(doing: Coroutine[object, object, None], wait: float) -> None:
    task = asyncio.ensure_future(doing)
    await asyncio.wait({task}, timeout=wait)
    await _cancel([task])


async def _cancel(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    alive = {task for task in tasks if task is not None}
    for task in alive:
        task.cancel()
    if alive:
        done, _ = await asyncio.wait(alive, timeout=1.0)
        for task in done:
            if not task.cancelled():
                task.exception()  # retrieved: no other code awaits the task
