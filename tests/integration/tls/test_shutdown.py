"""A broker that is closed leaves no TLS connection behind, whatever the server does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus import connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from tests.support.open_sockets import sockets

if TYPE_CHECKING:
    from tests.support.servers import NativeServer

SOON = 5.0
"""Seconds in which what is left must be gone: TLS alone would wait for half a minute."""


async def test_closing_beside_a_frozen_server_leaves_no_connection(secured: NativeServer) -> None:
    before = sockets()
    broker = connect(secured.url, group="g", deadline=30)
    try:
        async with broker:
            await broker.create_queue("contract-closing", groups=["g"])
            await broker.publish("contract-closing", b"x")
            await (await broker.consume("contract-closing", Probe())).ready()
            assert sockets() > before
            await asyncio.to_thread(secured.pause)
        async with within(SOON, "the end of every connection"):
            while sockets() - before:
                await asyncio.sleep(0.01)  # the kernel tells nobody
    finally:
        await asyncio.to_thread(secured.resume)
