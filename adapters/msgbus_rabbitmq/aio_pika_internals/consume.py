"""Consuming a queue: by the frame reader of the underlay, or by aio-pika's ``Queue.consume()``.

Client: aio-pika 10.2.1. Symptom: ``Queue.consume()`` starts two tasks for each message, on top of the cost that
`frame_reader` avoids, and cancels them when the channel dies. It is the fallback where the underlay has no FrameReader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus_rabbitmq.amqp_frames import from_aio_pika

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractIncomingMessage
    from aiormq.abc import DeliveredMessage

    from msgbus_rabbitmq.aio_pika_internals.connection import Channel
    from msgbus_rabbitmq.aio_pika_internals.frame_reader import FrameReader
    from msgbus_rabbitmq.amqp_frames import Delivered

__all__ = ["consume"]


async def consume(channel: Channel, queue: str, take: Callable[[Delivered], None]) -> None:
    """Consume the server's ``queue`` over ``channel``, which has no other consumer, and pass deliveries to ``take``."""
    reader: FrameReader | None = getattr(channel.underlay.connection, "frame_reader", None)
    if reader is None:
        await _consume_by_aio_pika(channel, queue, take)
    else:
        reader.consume(channel.underlay, take)
        await channel.underlay.basic_consume(queue, _nothing)


async def _nothing(_: DeliveredMessage) -> None:
    """Do nothing: the frame reader keeps the deliveries of the channel from aiormq."""


async def _consume_by_aio_pika(channel: Channel, queue: str, take: Callable[[Delivered], None]) -> None:
    async def pushed(message: AbstractIncomingMessage) -> None:
        take(from_aio_pika(message))  # without an await: aio-pika cancels the callbacks of a channel that dies

    await (await channel.get_queue(queue, ensure=False)).consume(pushed)
