"""The connection of aiormq that reads with our frame reader."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from aiormq.exceptions import AMQPConnectionError

from msgbus_rabbitmq.aio_pika_internals.underlay import Underlay


async def test_the_client_that_is_installed_is_read_at_once() -> None:
    connection = Underlay("amqp://127.0.0.1:1")
    assert hasattr(aiormq.Connection, "_Connection__reader")
    receiver = aiormq.connection.FrameReceiver(asyncio.StreamReader())
    receiver.reader.feed_eof()
    with pytest.raises(AMQPConnectionError):
        await connection._Connection__reader(receiver)
    assert connection.frame_reader is not None
