"""Consuming: the frame reader and aio-pika give the same deliveries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import aio_pika
from aio_pika.exceptions import AMQPConnectionError
from aiormq.abc import DeliveredMessage
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from msgbus_rabbitmq.aio_pika_internals.consume import consume
from msgbus_rabbitmq.aio_pika_internals.frame_reader import FrameReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus_rabbitmq.aio_pika_internals import Channel
    from msgbus_rabbitmq.amqp_frames import Delivered

DELIVER = Basic.Deliver("ctag", 3, redelivered=True, exchange="x", routing_key="r")
HEADER = ContentHeader(body_size=2, properties=Basic.Properties(message_id="m", headers={"n": 1}))


class Scripted(aio_pika.Channel):
    """A channel that keeps its consumer, and is its own underlay."""

    number = 7

    def __init__(self, reader: FrameReader | None) -> None:
        super().__init__(cast("Any", None))
        self.underlay: Any = self
        self.connection = SimpleNamespace(frame_reader=reader)
        self.closing = asyncio.get_running_loop().create_future()
        self.callbacks: list[Callable[[DeliveredMessage], Any]] = []

    async def get_underlay_channel(self) -> Any:
        return self

    async def basic_consume(self, queue: str, consumer_callback: Callable[[DeliveredMessage], Any], **_: object) -> Any:
        assert queue == "q"
        self.callbacks.append(consumer_callback)
        return Basic.ConsumeOk("ctag")


async def test_where_the_client_reads_by_itself_the_consumer_gets_the_same() -> None:
    by_aio_pika, by_reader = list["Delivered"](), list["Delivered"]()
    slow = Scripted(None)
    await consume(cast("Channel", slow), "q", by_aio_pika.append)
    await slow.callbacks[0](DeliveredMessage(DELIVER, HEADER, b"ab", cast("Any", None)))

    stream = asyncio.StreamReader()
    reader = FrameReader(stream)
    await consume(cast("Channel", Scripted(reader)), "q", by_reader.append)
    stream.feed_data(b"".join(marshal(frame, 7) for frame in (DELIVER, HEADER, ContentBody(b"ab"))))
    stream.feed_eof()
    with suppress(AMQPConnectionError):
        while True:
            await anext(reader)
    assert by_aio_pika == by_reader
    assert by_reader[0].body == b"ab"
