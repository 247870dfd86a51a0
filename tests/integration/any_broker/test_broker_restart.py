"""The server is killed or frozen and comes back, under load: nothing confirmed is lost, nothing is out of order."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msgbus import BrokerClosed, MsgbusError, connect
from msgbus.publishing.publication import Publication
from msgbus.testing import Probe
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import within
from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msgbus import Broker
    from tests.support.servers import NativeServer

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "1"))
"""Kills of the server; more by MSGBUS_TEST_ROUNDS=20."""
FREEZES = int(os.environ.get("MSGBUS_TEST_FREEZES", "1"))
"""How often it is frozen; more by MSGBUS_TEST_FREEZES=30."""
FROZEN = 1.0
"""Seconds that it stands still."""
BETWEEN = int(os.environ.get("MSGBUS_TEST_BETWEEN", "300"))
"""Messages confirmed between two faults; more by MSGBUS_TEST_BETWEEN=5000."""
PUBLISHERS = 10
SETTLED = 10.0
"""Seconds of age of a queue at its first kill. RabbitMQ 3.10.8 writes what it knows of a new quorum queue down with a
delay: one that was killed in its first second elected no leader afterwards, one of 3 seconds did (seen), on an idle
machine."""


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    server = or_skip(lambda: start_native(request.param))
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
            except BrokerClosed:
                raise  # the test has failed: publishing on without a wait would never let it end
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


async def killed(server: NativeServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)


async def frozen(server: NativeServer) -> None:
    server.pause()
    await asyncio.sleep(FROZEN)
    server.resume()


def disorder(ids: Sequence[str]) -> list[str]:
    """What was handled for the first time after a later message of its key."""
    newest: dict[str, int] = {}
    late: list[str] = []
    for one in dict.fromkeys(ids):
        key, _, number = one.partition("-")
        if int(number) < newest.get(key, 0):
            late.append(f"{one} after {key}-{newest[key]}")
        newest[key] = max(newest.get(key, 0), int(number))
    return late


async def until_inside(probe: Probe, message: str) -> None:
    await probe.until(lambda: any(one.id == message for one in probe.entered), f"the call of {message}")


@pytest.mark.timeout(1800)
async def test_nothing_is_lost_or_out_of_order_when_the_server_is_killed_and_frozen(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g", deadline=60) as broker:
        await broker.create_queue("load", groups=["g"])
        created = asyncio.get_running_loop().time()
        await broker.consume("load", probe)
        load = Load(broker, "load")
        publishers = [asyncio.ensure_future(load.publish(name)) for name in range(PUBLISHERS)]
        await load.until(created + SETTLED)
        for fault in [killed] * ROUNDS + [frozen] * FREEZES:
            await load.until_confirmed(len(load.confirmed) + BETWEEN)
            await fault(server)
        await load.until_confirmed(len(load.confirmed) + BETWEEN)
        load.stop()
        await asyncio.gather(*publishers)
        await probe.until_handled(load.confirmed)
    assert disorder(probe.ids) == []
    repeated = sum(count - 1 for count in Counter(probe.ids).values())
    print(f"\n{server.name}: {len(load.confirmed)} confirmed, 0 lost, {repeated} repeated, failed: {dict(load.failed)}")  # noqa: T201 - the figures, with -s


@pytest.mark.timeout(1800)
async def test_what_was_in_hand_when_the_server_was_killed_comes_before_what_is_newer(server: NativeServer) -> None:
    """A backlog of one key, one of it in the callback and more in the member's hands."""
    probe = Probe()
    async with connect(server.url, group="g", deadline=60) as broker:
        await broker.create_queue("backlog", groups=["g"])
        await broker.consume("backlog", probe)
        if server.name == "rabbitmq":
            await asyncio.sleep(SETTLED)
        for turn in range(ROUNDS):
            ids = [f"{turn}-{n}" for n in range(100)]
            probe.hold(lambda message: message.id.endswith("-5"))
            await publish_all(broker, "backlog", [Publication(b"x", message_id=one, key=str(turn)) for one in ids])
            await until_inside(probe, f"{turn}-5")
            await killed(server)
            await probe.release()
            await probe.until_handled(ids)
    assert disorder(probe.ids) == []
