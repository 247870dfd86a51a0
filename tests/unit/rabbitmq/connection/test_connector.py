"""Connecting, without a RabbitMQ server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp.commands import Connection as Commands

from msgbus.adapter.options import AdapterOptions
from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq.aio_pika_internals import Support
from msgbus_rabbitmq.aio_pika_internals.underlay import Underlay
from msgbus_rabbitmq.connection import connector
from msgbus_rabbitmq.connection.connector import Connector
from tests.support.amqp_server import AmqpServer, clients_tasks, serving_amqp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server() -> AsyncIterator[AmqpServer]:
    async with serving_amqp() as server:
        yield server


def connector_to(server: AmqpServer, support: Support | None = None) -> Connector:
    plain = Support(frame_reader=False, batch_publish=False)
    return Connector(server.url, AdapterOptions(), "test", support or plain)


async def test_a_connect_that_is_cancelled_in_the_moment_of_the_answer_leaves_no_connection(
    server: AmqpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Underlay] = []

    async def connect_and_be_cancelled(underlay: Underlay, **how: Any) -> bool:
        answer: bool = await aiormq.Connection.connect(underlay, **how)
        opened.append(underlay)
        connecting.cancel()
        return answer

    monkeypatch.setattr(Underlay, "connect", connect_and_be_cancelled)
    connecting = asyncio.ensure_future(connector_to(server).connect())
    await asyncio.wait({connecting})
    assert connecting.cancelled()
    assert [underlay.is_opened for underlay in opened] == [False]
    assert not clients_tasks()


async def turns(connecting: asyncio.Future[Any], n: int) -> bool:
    """Give the loop ``n`` turns; tell whether ``connecting`` is done."""
    for _ in range(n):
        await asyncio.sleep(0)
    return connecting.done()


async def test_a_connect_that_is_cancelled_in_any_moment_leaves_no_connection(server: AmqpServer) -> None:
    support = Support()
    await support.rehearse()  # its tasks end by themselves
    moment, done = 0, False
    while not done:
        connecting = asyncio.ensure_future(connector_to(server, support).connect())
        done = await turns(connecting, moment)
        connecting.cancel()
        await asyncio.wait({connecting})
        if not connecting.cancelled():
            await connecting.result().close()
        assert await server.left() == 0, f"cancelled after {moment} turns"
        assert not clients_tasks(), f"cancelled after {moment} turns"
        moment += 1
    assert moment > 10


async def test_a_close_that_is_cancelled_in_any_moment_leaves_no_connection(server: AmqpServer) -> None:
    moment, done = 1, False  # a call that is cancelled before it begins has no way to close anything
    while not done:
        established = await connector_to(server).connect()
        closing = asyncio.ensure_future(established.close())
        done = await turns(closing, moment)
        closing.cancel()
        await asyncio.wait({closing})
        assert await server.left() == 0, f"cancelled after {moment} turns"
        async with asyncio.timeout(5):
            while clients_tasks():
                await asyncio.sleep(0)
        moment += 1
    assert moment > 5


async def test_a_close_that_is_cancelled_beside_a_silent_server_leaves_no_connection() -> None:
    async with serving_amqp(Commands.Close) as server:
        established = await connector_to(server).connect()
        closing = asyncio.ensure_future(established.close())
        await turns(closing, 5)
        closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled()
        assert await server.left(within=1) == 0, "aiormq would wait for the server for 2 s"


@pytest.mark.parametrize("moment", range(8))
async def test_a_connection_that_closes_while_the_event_loop_ends_keeps_nobody_waiting(moment: int) -> None:
    async with serving_amqp(Commands.Close) as server:
        established = await connector_to(server).connect()
        closing = asyncio.ensure_future(established.close())
        await turns(closing, 3)
        closing.cancel()
        await asyncio.wait({closing})
        await turns(closing, moment)
        tasks = clients_tasks()
        for task in tasks:  # as asyncio.run() does at its end
            task.cancel()
        _, left = await asyncio.wait({closing, *tasks}, timeout=5)
        for task in left:
            task.cancel()
        assert not left


@pytest.mark.parametrize("silent", [Commands.StartOk, Commands.Open])
async def test_a_server_that_falls_silent_while_it_is_connected_to_is_left(
    silent: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "REPLY_TIMEOUT_SECONDS", 0.1)
    async with serving_amqp(silent) as server:
        with pytest.raises(BrokerUnavailable, match=r"no answer within 0\.1 s"):
            await connector_to(server).connect()
        assert await server.left() == 0
        assert not clients_tasks()
