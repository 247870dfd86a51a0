"""aio-pika's connection and channel over our underlay."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity
from pamqp.commands import Connection as Commands

from msgbus.adapter.options import AdapterOptions
from msgbus_rabbitmq.aio_pika_internals import Connection, Support
from msgbus_rabbitmq.aio_pika_internals.blocked import why_blocked
from msgbus_rabbitmq.aio_pika_internals.underlay import FRAME_BUFFER_SIZE, Underlay
from msgbus_rabbitmq.connection.connector import Connector
from tests.support.amqp_server import CHANNEL_MAX, AmqpServer, clients_tasks, serving_amqp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server() -> AsyncIterator[AmqpServer]:
    async with serving_amqp() as server:
        yield server


@pytest.fixture
async def connection(server: AmqpServer) -> AsyncIterator[Connection]:
    established = await Connector(server.url, AdapterOptions(), "test", Support()).connect()
    yield established.connection
    await established.close()


def callbacks(future: asyncio.Future[Any]) -> int:
    """How many callbacks a future has."""
    registered: Any = future
    return len(registered._callbacks or ())


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_the_connection_is_one_of_aio_pika_over_our_underlay(connection: Connection) -> None:
    assert isinstance(connection, aio_pika.Connection)
    assert connection.transport is not None
    assert connection.transport.connection is connection.underlay
    assert isinstance(connection.underlay, Underlay)
    assert connection.is_opened
    assert not connection.is_closed
    assert connection.connected.is_set()
    assert connection.server_properties["capabilities"] == {"publisher_confirms": True}


async def test_a_connection_that_was_lost_is_closed(server: AmqpServer, connection: Connection) -> None:
    told: list[BaseException | None] = []
    connection.close_callbacks.add(lambda _, error: told.append(error))
    server.cut()
    await until(lambda: told)
    assert connection.is_closed
    assert not connection.is_opened
    assert not connection.connected.is_set()
    assert isinstance(told[0], ConnectionError)


async def test_a_connection_that_was_lost_is_collected_without_a_task(server: AmqpServer) -> None:
    async def connect_and_lose() -> weakref.ref[Connection]:
        connection = (await Connector(server.url, AdapterOptions(), "test", Support()).connect()).connection
        server.cut()
        await until(lambda: connection.is_closed)
        return weakref.ref(connection)

    lost = await connect_and_lose()
    await until(lambda: not clients_tasks())
    gc.collect()
    assert lost() is None
    assert not clients_tasks()


async def test_a_blocked_connection_is_not_ready(server: AmqpServer, connection: Connection) -> None:
    await connection.ready()
    server.send(Commands.Blocked("low on memory"))
    await until(lambda: connection.blocked_by)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await connection.ready()
    assert await why_blocked(connection) == "low on memory"
    server.send(Commands.Unblocked())
    async with asyncio.timeout(5):
        await connection.ready()
    assert not await why_blocked(connection)


async def test_a_channel_of_a_blocked_connection_is_opened_when_it_is_unblocked(
    server: AmqpServer, connection: Connection
) -> None:
    server.send(Commands.Blocked("low on disk"))
    await until(lambda: connection.blocked_by)
    before = callbacks(connection.underlay.closing)
    channel = connection.channel()
    opening = asyncio.ensure_future(channel.initialize())
    done, _ = await asyncio.wait({opening}, timeout=0.05)
    assert not done
    assert callbacks(connection.underlay.closing) == before
    server.send(Commands.Unblocked())
    await opening
    assert not channel.is_closed


async def test_the_lowest_channel_number_that_is_free_is_taken(connection: Connection) -> None:
    channels = [connection.channel() for _ in range(3)]
    await asyncio.gather(*(channel.initialize() for channel in channels))
    assert sorted(channel.number or 0 for channel in channels) == [1, 2, 3]
    number = channels[1].number
    await channels[1].close()
    again = connection.channel()
    await again.initialize()
    assert again.number == number
    assert again.underlay.frames.maxsize == FRAME_BUFFER_SIZE


async def test_one_channel_more_than_the_server_allows_costs_nobody_the_connection(connection: Connection) -> None:
    channels = [connection.channel() for _ in range(CHANNEL_MAX + 1)]
    results = await asyncio.gather(*(channel.initialize() for channel in channels), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * CHANNEL_MAX + [ChannelInvalidStateError]
    before = callbacks(connection.underlay.closing)
    for _ in range(10):
        with pytest.raises(ChannelInvalidStateError, match=f"has {CHANNEL_MAX} channels, as many as the server allows"):
            connection.channel()
    assert callbacks(connection.underlay.closing) == before
    assert connection.is_opened
    await channels[0].close()
    await connection.channel().initialize()


async def test_channels_that_were_closed_leave_nothing_on_the_connection(connection: Connection) -> None:
    closing = connection.underlay.closing
    before = callbacks(closing), callbacks(connection.underlay._closing)
    for _ in range(50):
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.initialize()
        await channel.close()
        assert channel.is_closed
    assert connection.underlay.closing is closing
    assert (callbacks(closing), callbacks(connection.underlay._closing)) == before
    assert not connection.underlay.channels


async def test_channels_that_the_server_closed_leave_nothing_on_the_connection(connection: Connection) -> None:
    before = callbacks(connection.underlay.closing), callbacks(connection.underlay._closing)
    for _ in range(20):
        channel = connection.channel()
        await channel.initialize()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.get_queue("missing")
        await until(lambda channel=channel: channel.is_closed)
    assert (callbacks(connection.underlay.closing), callbacks(connection.underlay._closing)) == before


async def test_a_channel_is_told_of_a_lost_connection(
    server: AmqpServer, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "aio_pika")
    channel = connection.channel()
    await channel.initialize()
    told: list[BaseException | None] = []
    channel.close_callbacks.add(lambda _, error: told.append(error))
    server.cut()
    await until(lambda: told)
    assert channel.is_closed
    assert len(told) == 1
    assert isinstance(told[0], ConnectionError)
    await channel.close()
    assert not [record for record in caplog.records if record.name.startswith("aio_pika")]
