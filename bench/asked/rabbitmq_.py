"""Questions to RabbitMQ, by aio-pika."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aio_pika

from bench.asked import GROUP
from msgbus.failure.retry_queues import group_queues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aio_pika.abc import AbstractConnection

DELETING_CHANNELS = 8
"""Channels that delete concurrently: each waits for the server."""


async def left(url: str, lying: str) -> int:
    """Implement :meth:`Asked.left`.

    It counts ready messages: what a member had in flight is ready again once its channel is closed.
    """
    connection = await aio_pika.connect(amqp(url))
    async with connection, connection.channel() as channel:
        declared = await channel.declare_queue(lying, passive=True)
        return int(declared.declaration_result.message_count or 0)


async def sweep(url: str, queues: Sequence[str]) -> None:
    """Implement :meth:`Asked.sweep`."""
    connection = await aio_pika.connect(amqp(url))
    async with connection:
        doomed = iter([(queue, name) for queue in queues for name in _names(queue)])
        async with asyncio.TaskGroup() as group:
            for _ in range(DELETING_CHANNELS):
                group.create_task(_delete(connection, doomed))


def amqp(url: str) -> str:
    """Return the URL as aio-pika wants it."""
    return url.replace("rabbitmq://", "amqp://", 1)


def _names(queue: str) -> list[str]:
    return [queue, f"{queue}.{GROUP}", *(str(one.address) for one in group_queues(queue, GROUP))]


async def _delete(connection: AbstractConnection, doomed: Iterator[tuple[str, str]]) -> None:
    async with connection.channel() as channel:
        for queue, name in doomed:
            await channel.queue_delete(name)
            if name == queue:
                await channel.exchange_delete(name)
