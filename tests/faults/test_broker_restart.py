"""The server is killed and comes back, under load: nothing confirmed is lost, and nobody restarts anything."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msgbus import MsgbusError, connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from tests.servers import ServersError, ServerUnavailable, start_native

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus import Broker
    from tests.servers import NativeServer

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "1"))
"""Kills of the server; more by MSGBUS_TEST_ROUNDS=20."""
BETWEEN = 300
"""Messages confirmed between two kills."""
PUBLISHERS = 10
SETTLED = 5.0
"""Seconds of age of a queue at its first kill. RabbitMQ 3.10.8 writes what it knows of a new quorum queue down with a
delay: one that was killed in its first second elected no leader afterwards, one of 3 seconds did (seen)."""


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    try:
        server = start_native(request.param)
    except ServersError as error:
        if os.environ.get("CI") == "true" or not isinstance(error, ServerUnavailable):
            raise
        pytest.skip(str(error))
    yield server
    server.stop()


class Load:
    """Publishers that go on whatever happens, and what they were told."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._queue = queue
        self._stopped = False
        self.confirmed: list[str] = []
        self.failed: Counter[str] = Counter()
        self._event = asyncio.Event()

    async def publish(self, name: int) -> None:
        number = 0
        while not self._stopped:
            number += 1
            message = f"{name}-{number}"
            try:
                await self._broker.publish(self._queue, b"x", message_id=message, key=str(name))
            except MsgbusError as error:
                self.failed[type(error).__name__] += 1
            else:
                self.confirmed.append(message)
                self._event.set()

    async def until(self, moment: float) -> None:
        """Go on until the event loop's time is ``moment``."""
        while asyncio.get_running_loop().time() < moment:
            await self.until_confirmed(len(self.confirmed) + 1)

    async def until_confirmed(self, count: int) -> None:
        async with within(90, f"{count} confirmed; {len(self.confirmed)} are, failed: {dict(self.failed)}"):
            while len(self.confirmed) < count:
                self._event.clear()
                await self._event.wait()

    def stop(self) -> None:
        self._stopped = True


@pytest.mark.timeout(600)
async def test_nothing_confirmed_is_lost_when_the_server_is_killed_under_load(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g", deadline=60) as broker:
        await broker.create_queue("load", groups=["g"])
        created = asyncio.get_running_loop().time()
        await broker.consume("load", probe)
        load = Load(broker, "load")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        await load.until(created + SETTLED)
        for _ in range(ROUNDS):
            await load.until_confirmed(len(load.confirmed) + BETWEEN)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
        await load.until_confirmed(len(load.confirmed) + BETWEEN)
        load.stop()
        await asyncio.gather(*publishers)
        await probe.until_handled(load.confirmed)
    repeated = sum(count - 1 for count in Counter(probe.ids).values())
    print(f"\n{server.name}: {len(load.confirmed)} confirmed, 0 lost, {repeated} repeated, failed: {dict(load.failed)}")  # noqa: T201 - the figures, with -s
