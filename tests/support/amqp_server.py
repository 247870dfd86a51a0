"""A scripted AMQP server: it opens connections and channels, and has no queue."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from pamqp import frame as frames
from pamqp.commands import Channel, Confirm, Connection, Queue

from msgbus.adapter.url import BrokerURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["AmqpServer", "clients_tasks", "serving_amqp"]

PROTOCOL_HEADER_BYTES: Final = 8
CHANNEL_MAX: Final = 3


class AmqpServer:
    """Answers as a server does, and ends or blocks its connections on demand."""

    def __init__(self, silent: type | None = None) -> None:
        """``silent`` is a method that is not answered."""
        self.silent = silent
        self.writers: set[asyncio.StreamWriter] = set()
        self.url = BrokerURL.parse("rabbitmq://127.0.0.1:1")
        self.received: list[str] = []
        """Names of the methods that came, in order."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self.writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(PROTOCOL_HEADER_BYTES)
            self._send(writer, Connection.Start(server_properties={"capabilities": {"publisher_confirms": True}}))
            while True:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
                _, channel, method = frames.unmarshal(head + rest)
                self.received.append(method.name)
                if (answer := _answer(method)) is not None and not isinstance(method, self.silent or ()):
                    self._send(writer, answer, channel)
        self.writers.discard(writer)
        writer.close()

    def send(self, method: Any) -> None:
        """Send ``method`` to every connection."""
        for writer in self.writers:
            self._send(writer, method)

    def cut(self) -> None:
        """End every connection without a word."""
        for writer in self.writers:
            writer.transport.abort()

    async def left(self, within: float = 5) -> int:
        """Return how many connections are open after ``within`` seconds, or 0 as soon as none is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.writers:
                    await asyncio.sleep(0.001)
        return len(self.writers)

    @staticmethod
    def _send(writer: asyncio.StreamWriter, method: Any, channel: int = 0) -> None:
        writer.write(frames.marshal(method, channel))


def _answer(method: Any) -> Any:
    answer = _ANSWERS.get(type(method))
    return None if answer is None else answer()


_ANSWERS: Final[dict[type, Callable[[], Any]]] = {
    Connection.StartOk: lambda: Connection.Tune(CHANNEL_MAX, 131_072, 10),
    Connection.Open: Connection.OpenOk,
    Connection.Close: Connection.CloseOk,
    Channel.Open: Channel.OpenOk,
    Channel.Close: Channel.CloseOk,
    Confirm.Select: Confirm.SelectOk,
    Queue.Declare: lambda: Channel.Close(404, "NOT_FOUND - no queue", 50, 10),
}


def clients_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of aio-pika and aiormq, our methods of theirs included."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in tasks if "aiormq" in repr(task) or "aio_pika" in repr(task)}


@asynccontextmanager
async def serving_amqp(silent: type | None = None) -> AsyncIterator[AmqpServer]:
    """Serve on a free port."""
    server = AmqpServer(silent)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        server.url = BrokerURL.parse(f"rabbitmq://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        yield server
        server.cut()
