"""The proxy and its faults."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.testing import Proxy
from msgbus.testing.probe import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that answers each line with itself and remembers it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ends: list[str] = []
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._note(self.lines, line)
                writer.write(line)
            await self._note(self.ends, "closed")
        except ConnectionError:
            await self._note(self.ends, "reset")
        finally:
            writer.close()

    async def _note(self, where: list[Any], what: object) -> None:
        async with self.changed:
            where.append(what)
            self.changed.notify_all()

    async def until_heard(self, line: bytes) -> None:
        async with within(10, f"the server hearing {line!r}"), self.changed:
            await self.changed.wait_for(lambda: line in self.lines)

    async def until_ended(self) -> str:
        async with within(10, "the end of a connection"), self.changed:
            await self.changed.wait_for(lambda: self.ends)
        return self.ends[0]


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, echo


@asynccontextmanager
async def dialled(proxy: Proxy) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def asked(stream: Stream, line: bytes) -> bytes:
    reader, writer = stream
    writer.write(line)
    async with within(10, f"an answer to {line!r}"):
        return await reader.readline()


async def test_without_a_fault_bytes_pass_and_ends_too() -> None:
    async with proxied() as (proxy, echo), dialled(proxy) as stream:
        big = b"x" * 60_000 + b"\n"
        assert [await asked(stream, line) for line in (b"one\n", big)] == [b"one\n", big]
        assert proxy.connections == 1
        stream[1].write_eof()
        assert await stream[0].read() == b""
        assert await echo.until_ended() == "closed"


async def test_a_delay_makes_nothing_early_and_keeps_the_order() -> None:
    async with proxied() as (proxy, _), dialled(proxy) as stream:
        proxy.delay(0.1)
        began = asyncio.get_running_loop().time()
        stream[1].write(b"a\nb\n")
        assert await asked(stream, b"c\n") == b"a\n"
        assert asyncio.get_running_loop().time() - began >= 0.2
        assert await stream[0].readline() + await stream[0].readline() == b"b\nc\n"


async def test_a_cut_resets_both_sides_and_the_next_connection_is_welcome() -> None:
    async with proxied() as (proxy, echo), dialled(proxy) as stream:
        await asked(stream, b"one\n")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            await stream[0].read()
        assert await echo.until_ended() == "reset"
        async with dialled(proxy) as again:
            assert await asked(again, b"two\n") == b"two\n"


async def test_who_is_refused_comes_in_when_it_has_healed() -> None:
    async with proxied() as (proxy, _), dialled(proxy) as stream:
        await asked(stream, b"one\n")
        await proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await stream[0].read()
        with pytest.raises(ConnectionRefusedError):
            async with dialled(proxy):
                pass
        await proxy.heal()
        async with dialled(proxy) as again:
            assert await asked(again, b"two\n") == b"two\n"


async def test_a_hole_on_the_way_down_swallows_answers_until_it_heals() -> None:
    async with proxied() as (proxy, echo), dialled(proxy) as stream:
        await asked(stream, b"one\n")
        proxy.hole(up=False)
        stream[1].write(b"two\n")
        await echo.until_heard(b"two\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream[0].read(1), 0.1)
        await proxy.heal()
        assert await asked(stream, b"three\n") == b"two\n"
        assert await stream[0].readline() == b"three\n"


async def test_through_a_hole_on_the_way_up_the_server_hears_nothing_until_it_heals() -> None:
    async with proxied() as (proxy, echo), dialled(proxy) as stream:
        await asked(stream, b"one\n")
        proxy.hole(down=False)
        stream[1].write(b"two\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream[0].read(1), 0.1)
        assert echo.lines == [b"one\n"]
        await proxy.heal()
        assert await stream[0].readline() == b"two\n"


async def test_a_lost_reply_is_one_that_the_server_gave_and_nobody_got() -> None:
    async with proxied() as (proxy, echo), dialled(proxy) as other, dialled(proxy) as stream:
        lost = proxy.lose_reply(b"pay")
        assert await asked(stream, b"one\n") == b"one\n"
        stream[1].write(b"pa")
        await stream[1].drain()
        stream[1].write(b"y\n")
        with pytest.raises(ConnectionResetError):
            await stream[0].read()
        assert lost.is_set()
        assert echo.lines == [b"one\n", b"pay\n"]
        assert await echo.until_ended() == "closed"
        assert await asked(other, b"pay\n") == b"pay\n", "only the first is lost"


async def test_a_server_that_is_gone_ends_the_clients_connection() -> None:
    async with Proxy("127.0.0.1", 1) as proxy, dialled(proxy) as (reader, _):
        assert await reader.read() == b""
