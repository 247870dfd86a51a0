"""A connection that is made when it is needed, and its channels, on a scripted server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pamqp.commands import Channel as Commands

from msgbus.adapter.options import AdapterOptions
from msgbus.errors import BrokerUnavailable, QueueNotFound
from msgbus_rabbitmq.aio_pika_internals import Support
from msgbus_rabbitmq.connection.connection import AmqpConnection
from tests.support.amqp_server import CHANNEL_MAX, AmqpServer, clients_tasks, serving_amqp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server() -> AsyncIterator[AmqpServer]:
    async with serving_amqp() as server:
        yield server


@pytest.fixture
async def connection(server: AmqpServer) -> AsyncIterator[AmqpConnection]:
    connection = AmqpConnection(server.url, AdapterOptions(), "test", Support())
    yield connection
    await connection.close()
    assert await server.left() == 0
    assert not clients_tasks()


async def test_callers_at_the_same_time_share_one_connection(server: AmqpServer, connection: AmqpConnection) -> None:
    first, second = await asyncio.gather(connection.ensure_connected(), connection.ensure_connected())
    assert first is second
    assert len(server.writers) == 1
    assert connection.is_up


async def test_a_lost_connection_is_made_again(server: AmqpServer, connection: AmqpConnection) -> None:
    lost = await connection.ensure_connected()
    server.cut()
    async with asyncio.timeout(5):
        while connection.is_up:
            await asyncio.sleep(0)
    assert await connection.ensure_connected() is not lost
    assert not (await connection.channel()).is_closed


async def test_a_channel_whose_opening_is_cancelled_in_any_moment_is_closed(connection: AmqpConnection) -> None:
    underlay = (await connection.ensure_connected()).underlay
    moment, done = 0, False
    while not done:
        opening = asyncio.ensure_future(connection.channel(confirms=True))
        for _ in range(moment):
            await asyncio.sleep(0)
        done = opening.done()
        opening.cancel()
        await asyncio.wait({opening})
        if not opening.cancelled():
            assert await connection.close_channel(opening.result())
        async with asyncio.timeout(5):
            while underlay.channels:
                await asyncio.sleep(0)
        moment += 1
    assert moment > 10
    assert connection.is_up


async def test_one_channel_more_than_the_server_allows_is_an_error_and_costs_no_other(
    connection: AmqpConnection,
) -> None:
    channels = [await connection.channel() for _ in range(CHANNEL_MAX)]
    with pytest.raises(BrokerUnavailable, match=f"cannot open a channel.*has {CHANNEL_MAX} channels"):
        await connection.channel()
    assert connection.is_up
    assert not any(channel.is_closed for channel in channels)


async def test_an_error_on_a_temporary_channel_closes_no_other(connection: AmqpConnection) -> None:
    other = await connection.channel()
    with pytest.raises(QueueNotFound, match=r"asking: .*no queue"):
        await connection.on_temporary_channel("asking", lambda channel: channel.get_queue("missing"))
    assert not other.is_closed


async def test_a_server_that_answers_no_channel_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_amqp(Commands.Open) as server:
        connection = AmqpConnection(server.url, AdapterOptions(), "test", Support())
        await connection.ensure_connected()
        with pytest.raises(BrokerUnavailable, match=r"opening: no answer within 0\.05 s"):
            await connection.bounded(_open(connection), "opening", 0.05)
        monkeypatch.setattr("msgbus_rabbitmq.connection.connector.CLOSE_TIMEOUT_SECONDS", 0.1)
        await connection.close()
        assert await server.left() == 0


async def _open(connection: AmqpConnection) -> None:
    await connection.channel()
