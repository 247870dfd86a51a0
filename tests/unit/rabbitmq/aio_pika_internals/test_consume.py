"""Consuming: the frame reader and the client's own reader give the same deliveries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
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

    from msgbus_rabbitmq.amqp_frames import Delivered

DELIVER = Basic.Deliver("ctag", 3, redelivered=True, exchange="x", routing_key="r")


class Underlay:
    """A channel of aiormq that keeps its consumer."""

    number = 7

    def __init__(self, reader: FrameReader | None) -> None:
        self.connection = SimpleNamespace(frame_reader=reader)
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.callback: Callable[[DeliveredMessage], Any] | None = None

    async def basic_consume(self, queue: str, callback: Callable[[DeliveredMessage], Any]) -> None:
        assert queue == "q"
        self.callback = callback


def channel(underlay: Underlay) -> Any:
    return SimpleNamespace(underlay=underlay)


@pytest.mark.parametrize(
    "odd",
    [{}, {"delivery_mode": 3}, {"expiration": "soon"}],
    ids=["ordinary", "delivery mode 3", "expiration that is no number"],
)
async def test_the_client_s_own_reader_gives_the_same_deliveries(odd: dict[str, Any]) -> None:
    header = ContentHeader(body_size=2, properties=Basic.Properties(message_id="m", headers={"n": 1}))
    for name, value in odd.items():
        setattr(header.properties, name, value)  # pamqp refuses to make such properties, and reads them
    by_client, by_reader = list["Delivered"](), list["Delivered"]()
    slow = Underlay(None)
    await consume(channel(slow), "q", by_client.append)
    assert slow.callback is not None
    await slow.callback(DeliveredMessage(DELIVER, header, b"ab", cast("Any", None)))

    stream = asyncio.StreamReader()
    reader = FrameReader(stream)
    await consume(channel(Underlay(reader)), "q", by_reader.append)
    stream.feed_data(b"".join(marshal(frame, 7) for frame in (DELIVER, header, ContentBody(b"ab"))))
    stream.feed_eof()
    with suppress(AMQPConnectionError):
        while True:
            await anext(reader)
    assert by_client == by_reader
    assert by_reader[0].body == b"ab"
