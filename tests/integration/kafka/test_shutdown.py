"""A service that is stopped while every broker is dead or frozen stops in time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from msgbus import connect
from msgbus.testing.probe import within
from tests.support.ledger import Ledger, Load
from tests.support.open_sockets import sockets
from tests.support.servers import ServerNotReady

if TYPE_CHECKING:
    from msgbus import Message
    from tests.support.servers import NativeServer

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "1"))
"""Stops, each way; 20 by MSGBUS_TEST_ROUNDS=20."""
GRACE = 1.0
SECONDS = 12.0
"""Beside the grace: the last commit, leaving, what is still to be published, the connections; each has its bound."""


def working() -> set[asyncio.Task[Any]]:
    """Tasks of msgbus, its adapter or aiokafka."""
    ours = re.compile(r"\b(msgbus|msgbus_kafka|aiokafka)/")
    return {task for task in asyncio.all_tasks() if ours.search(repr(task))}


async def _never(message: Message) -> None:
    raise AssertionError(f"nobody published {message}")


def serve_again(server: NativeServer) -> None:
    server.resume()
    try:
        server.run()
    except ServerNotReady:  # a Kafka that stood still may not come back by itself: seen once in 50
        server.kill()
        server.run()


async def test_a_start_that_is_given_up_at_any_moment_leaves_no_connection(server: NativeServer) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for moment in range(60):
            broker = connect(server.url, group="g")
            await broker.consume("nothing", _never)
            starting = asyncio.create_task(broker.__aenter__())
            await asyncio.wait({starting}, timeout=moment / 1000)
            await broker.close()
            await asyncio.wait({starting})
            if not starting.cancelled():
                starting.exception()  # closed while it was connecting, or entered
        del broker, starting
        gc.collect()
    assert not [str(one.message) for one in told if issubclass(one.category, ResourceWarning)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_service_stops_while_every_broker_is_gone(server: NativeServer, how: str) -> None:
    took: list[float] = []
    loop = asyncio.get_running_loop()
    for turn in range(ROUNDS):
        await asyncio.to_thread(serve_again, server)
        tasks, before = working(), sockets()
        ledger = Ledger()
        broker = connect(f"{server.url}?session_timeout=6", group="g", grace=GRACE)
        async with broker:
            queue = f"stop-{how}-{turn}"
            await broker.create_queue(queue, groups=["g"])
            await (await broker.consume(queue, ledger.callback(broker))).ready()
            load = Load(broker, queue, 200)
            await ledger.until_more(50)
            await asyncio.to_thread(getattr(server, how))
            stopped = asyncio.ensure_future(load.stop())
            began = loop.time()
            async with within(GRACE + SECONDS, "stopping"):
                await broker.close()
            took.append(loop.time() - began)
            await stopped
        async with within(5, "nothing of it being left"):
            while working() - tasks or sockets() - before:
                await asyncio.sleep(0.05)
    await asyncio.to_thread(server.resume)
    print(f"\n{how}: {ROUNDS} stops took {min(took):.1f} to {max(took):.1f} s, {GRACE:g} of grace")  # noqa: T201 - the figures, with -s
