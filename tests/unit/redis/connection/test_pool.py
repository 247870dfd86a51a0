"""A pool of connections that is closed at a bad moment, with a server of the test's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.connection import Connection

from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.server import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PING = (("PING",),)


class Server:
    """Answers each command, and knows how many connections are open."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self._handlers: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._handlers.add(asyncio.current_task())
        while data := await reader.read(1000):
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    async def all_closed(self) -> None:
        """Wait until the clients have closed every connection."""
        async with asyncio.timeout(5):
            await asyncio.gather(*(handler for handler in self._handlers if handler is not None))


class Discovery:
    """Says where the server is once the test lets it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def primary(self) -> tuple[str, int]:
        self.asked.set()
        await self.may_answer.wait()
        return "127.0.0.1", self._server.port


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


async def test_a_call_that_connects_while_the_pool_is_closed_leaves_no_connection(server: Server) -> None:
    discovery = Discovery(server)
    pool = ConnectionPool(ServerAddress("", 0, discovery=discovery))
    call = asyncio.ensure_future(pool.run(PING, "pinging"))
    await discovery.asked.wait()
    await pool.close()
    discovery.may_answer.set()
    assert await call == [b"OK"]
    assert server.accepted == 1
    await server.all_closed()


async def test_a_pool_that_was_closed_keeps_the_connections_of_later_calls_until_it_is_closed_again(
    server: Server,
) -> None:
    pool = ConnectionPool(ServerAddress("127.0.0.1", server.port))
    await pool.close()
    for _ in range(2):
        assert await pool.run(PING, "pinging") == [b"OK"]
    assert server.accepted == 1
    await pool.close()
    await server.all_closed()


async def test_a_connect_that_is_cancelled_in_the_moment_in_which_it_ends_leaves_no_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Connection.connect

    async def connect_and_be_cancelled(connection: Connection) -> Any:
        answer = await connect(connection)  # type: ignore[no-untyped-call]  # redis-py's
        call.cancel()
        return answer

    monkeypatch.setattr(Connection, "connect", connect_and_be_cancelled)
    pool = ConnectionPool(ServerAddress("127.0.0.1", server.port))
    call = asyncio.ensure_future(pool.run(PING, "pinging"))
    await asyncio.wait({call})
    assert call.cancelled()
    await pool.close()
    assert server.accepted == 1
    await server.all_closed()
