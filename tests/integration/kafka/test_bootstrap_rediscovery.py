"""A cluster that moved to other addresses is found again at the URL's server, by clients that were connected."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Proxy
from msgbus.testing.probe import within
from tests.support.ledger import Ledger, Load
from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip
from tests.support.servers.ports import LOOPBACK, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import NativeServer

FOUND = 30.0
"""Seconds; the watchdog, which replaces a consumer that gets nothing, would take 40."""


@pytest.fixture
def server() -> Iterator[NativeServer]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says a lot about servers that are gone
    server = or_skip(lambda: start_native("kafka"))
    yield server
    server.stop()


def move(server: NativeServer, port: int) -> None:
    """Start it again; it tells clients to come to ``port``."""
    server.kill()
    properties = server.folder / "server.properties"
    _, front = server.recipe.behind_proxy
    said = properties.read_text(encoding="utf-8")
    properties.write_text(
        said.replace(f"PROXIED://{LOOPBACK}:{front}", f"PROXIED://{LOOPBACK}:{port}"), encoding="utf-8"
    )
    server.run()


async def test_a_cluster_that_moved_is_found_at_the_urls_server(server: NativeServer) -> None:
    behind, front = server.recipe.behind_proxy
    (elsewhere,) = free_ports(1)
    ledger = Ledger()
    async with Proxy(LOOPBACK, behind) as named, AsyncExitStack() as before:
        await before.enter_async_context(Proxy(LOOPBACK, behind, listen=front))
        async with connect(f"kafka://{LOOPBACK}:{named.port}?session_timeout=6", group="g", deadline=60) as broker:
            await broker.create_queue("moved", groups=["g"])
            await (await broker.consume("moved", ledger.callback(broker))).ready()
            load = Load(broker, "moved", 200)
            await ledger.until_more(200)
            await asyncio.to_thread(move, server, elsewhere)
            await before.aclose()
            async with Proxy(LOOPBACK, behind, listen=elsewhere):
                async with within(FOUND, "messages from the new address"):
                    await ledger.until_more(200)
                await load.stop()
                await ledger.until_all(load.confirmed)
                await broker.close()
    assert not load.refused
    assert ledger.disorder == 0
