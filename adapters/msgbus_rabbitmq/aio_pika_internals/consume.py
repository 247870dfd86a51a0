"""Consuming a queue on the underlay channel: by the frame reader, or by aiormq's own reader.

Client: aio-pika 10.2.1. Symptom: ``Queue.consume()`` makes an ``IncomingMessage`` of each delivery and raises at
properties that it does not know, such as delivery mode 3, which RabbitMQ 4.0 delivers. The error is only logged, and
the message stays in flight. It also starts two tasks for each message. So the fallback takes the deliveries from the
underlay channel too, where aiormq starts one task and reads the properties as they are.

Test that fails without it: test_the_client_s_own_reader_gives_the_same_deliveries.
Remove it when ``Queue.consume()`` passes on what it cannot interpret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgbus_rabbitmq.amqp_frames import from_aiormq

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq.abc import DeliveredMessage

    from msgbus_rabbitmq.aio_pika_internals.connection import Channel
    from msgbus_rabbitmq.aio_pika_internals.frame_reader import FrameReader
    from msgbus_rabbitmq.amqp_frames import Delivered

__all__ = ["consume"]


async def consume(channel: Channel, queue: str, take: Callable[[Delivered], None]) -> None:
    """Consume the server's ``queue`` over ``channel``, which has no other consumer, and pass deliveries to ``take``.

    Without a FrameReader on the connection, aiormq's own reader calls ``take`` with the same deliveries.
    """
    reader: FrameReader | None = getattr(channel.underlay.connection, "frame_reader", None)
    if reader is not None:
        reader.consume(channel.underlay, take)

    async def pushed(message: DeliveredMessage) -> None:
        take(from_aiormq(message))  # without an await: aiormq cancels the callbacks of a channel that dies

    await channel.underlay.basic_consume(queue, pushed)
