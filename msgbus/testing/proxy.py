"""TCP proxy between a client and a server that injects faults of a network.

::

    async with Proxy("127.0.0.1", 6379) as proxy:
        broker = connect(f"redis://127.0.0.1:{proxy.port}/0")
        proxy.hole(up=False)  # requests arrive, replies do not
        await proxy.heal()

``heal()`` delivers what a hole held back, in order: TCP loses nothing while a connection lasts.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Proxy"]

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 65_536
_CHUNKS: Final = 64
"""Chunks that one direction of a connection holds back at most; then its sender waits, as for a full socket."""
_RESET: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing sends RST instead of FIN."""


_Chunks = asyncio.Queue[tuple[float, bytes]]
"""Chunks with the loop times at which they are due; an empty chunk ends the stream."""


class Proxy:
    """Listens on the loopback interface at ``port`` while it is entered. Use it from its event loop only."""

    def __init__(self, host: str, port: int, *, listen: int = 0) -> None:
        """Make a proxy. No I/O: it listens while it is entered.

        Args:
            host: The server's host.
            port: The server's port.
            listen: The proxy's own port; 0 takes any free one.
        """
        self.port = listen
        self._target = (host, port)
        self._wires: set[_Wire] = set()
        self._latency = 0.0
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._lost: tuple[bytes, asyncio.Event] | None = None
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        # This socket is bound and never listens: it keeps the port, which refuses connections meanwhile.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((_HOST, self.port))
        self.port = self._held.getsockname()[1]
        await self.heal()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        while self._wires:
            await asyncio.wait([wire.task for wire in self._wires])
        if self._held is not None:
            self._held.close()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._wires)

    def delay(self, seconds: float) -> None:
        """Delay all bytes from now on.

        Args:
            seconds: Seconds of delay in each direction.
        """
        self._latency = seconds

    def hole(self, *, up: bool = True, down: bool = True) -> None:
        """Hold back bytes. Connections stay, and new ones are accepted.

        Args:
            up: Whether to hold back bytes to the server.
            down: Whether to hold back bytes from the server.
        """
        for way, wanted in (("up", up), ("down", down)):
            if wanted:
                self._open[way].clear()

    def cut(self) -> int:
        """Break every connection (RST to both sides). New ones are accepted.

        Returns:
            How many connections were broken.
        """
        wires = list(self._wires)
        for wire in wires:
            wire.reset()
        return len(wires)

    def lose_reply(self, request: bytes) -> asyncio.Event:
        """Break the first connection that carries a certain request, in place of the server's reply to it.

        The server has received the request in any case.

        Args:
            request: Any part of the request's bytes.

        Returns:
            An event that is set when the connection is broken.
        """
        self._lost = (request, asyncio.Event())
        return self._lost[1]

    async def refuse(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def heal(self) -> None:
        """End all faults: listen, without delay and without holes."""
        self._latency, self._lost = 0.0, None
        for gate in self._open.values():
            gate.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, _HOST, self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        wire = _Wire(task, writer)
        self._wires.add(wire)
        try:
            await self._carry(wire, reader)
        except (OSError, asyncio.CancelledError):
            pass  # refused by the server, or cut
        finally:
            self._wires.discard(wire)
            wire.close()

    async def _carry(self, wire: _Wire, client: asyncio.StreamReader) -> None:
        server, wire.up = await asyncio.open_connection(*self._target)
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(self._pump(wire, "up", client, wire.up))
            pumps.create_task(self._pump(wire, "down", server, wire.down))

    async def _pump(self, wire: _Wire, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        chunks: _Chunks = asyncio.Queue(_CHUNKS)
        delivering = asyncio.ensure_future(self._deliver(wire, way, chunks, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                if way == "down" and self._loses(wire):
                    return
                await chunks.put((loop.time() + self._latency, chunk))
            await chunks.put((0.0, b""))
            await delivering
        except ConnectionError:  # one side broke the connection: break it for the other side too
            wire.reset()
        finally:
            delivering.cancel()

    async def _deliver(self, wire: _Wire, way: str, chunks: _Chunks, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(due - loop.time())
            await self._open[way].wait()
            if not chunk:
                break
            writer.write(chunk)
            if way == "up":
                self._look(wire, chunk)
            await writer.drain()
        writer.write_eof()

    def _look(self, wire: _Wire, chunk: bytes) -> None:
        """Mark the connection if the request whose reply is to be lost has been sent, in one chunk or in several."""
        if self._lost is not None:
            request, _ = self._lost
            wire.marked = wire.marked or request in wire.tail + chunk
            wire.tail = (wire.tail + chunk)[-len(request) :]

    def _loses(self, wire: _Wire) -> bool:
        """Return whether these bytes are the reply to lose; if so, break the connection."""
        if self._lost is None or not wire.marked:
            return False
        _, lost = self._lost
        self._lost = None
        wire.drop()
        lost.set()
        return True


class _Wire:
    """One connection: ``down`` to the client, ``up`` to the server once there is one."""

    def __init__(self, task: asyncio.Task[None], down: asyncio.StreamWriter) -> None:
        self.task = task
        self.down = down
        self.up: asyncio.StreamWriter | None = None
        self.tail = b""
        self.marked = False

    def reset(self) -> None:
        """Send RST to both sides."""
        for writer in (self.down, self.up):
            if writer is not None:
                _reset(writer)
        self.task.cancel()

    def drop(self) -> None:
        """Send RST to the client; the server sees a client that has closed after sending everything."""
        _reset(self.down)
        self.task.cancel()

    def close(self) -> None:
        """Close what is still open."""
        for writer in (self.down, self.up):
            if writer is not None:
                writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
