"""Connecting, without a RabbitMQ server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp import frame as frames
from pamqp.commands import Connection as Commands

from msgbus.adapter.options import AdapterOptions
from msgbus.adapter.url import BrokerURL
from msgbus_rabbitmq.aiormq_internals import Support
from msgbus_rabbitmq.aiormq_internals.connection import Connection
from msgbus_rabbitmq.connection.connector import Connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def _handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a server does from the opening to the close of a connection."""
    await reader.readexactly(8)  # the protocol header
    for answer, until in (
        (Commands.Start(server_properties={}), Commands.StartOk),
        (Commands.Tune(2047, 131072, 10), Commands.Open),
        (Commands.OpenOk(), Commands.Close),
        (Commands.CloseOk(), None),
    ):
        writer.write(frames.marshal(answer, 0))
        while until is not None and not isinstance(await _frame(reader), until):
            pass
    writer.close()


async def _frame(reader: asyncio.StreamReader) -> Any:
    head = await reader.readexactly(7)
    rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
    return frames.unmarshal(head + rest)[2]


@pytest.fixture
async def url() -> AsyncIterator[BrokerURL]:
    server = await asyncio.start_server(_handshake, "127.0.0.1", 0)
    async with server:
        yield BrokerURL.parse(f"rabbitmq://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_connect_that_is_cancelled_in_the_moment_of_the_answer_leaves_no_connection(
    url: BrokerURL, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []

    async def connect_and_be_cancelled(connection: Connection, **how: Any) -> bool:
        answer: bool = await aiormq.Connection.connect(connection, **how)
        opened.append(connection)
        connecting.cancel()
        return answer

    monkeypatch.setattr(Connection, "connect", connect_and_be_cancelled)
    before = asyncio.all_tasks()
    connecting = asyncio.ensure_future(
        Connector(url, AdapterOptions(), "test", Support(frame_reader=False, batch_publish=False)).connect()
    )
    await asyncio.wait({connecting})
    assert connecting.cancelled()
    assert [connection.is_opened for connection in opened] == [False]
    left = [task for task in asyncio.all_tasks() - before if "aiormq" in repr(task)]
    assert left == []
