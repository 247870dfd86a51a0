"""The server is killed or frozen under load and comes back: no confirmed message is lost, and keys stay in order."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.publishing.publication import Publication
from msgbus.testing import Probe
from msgbus.testing.harness import publish_all
from tests.support.fault_load import MESSAGES_BETWEEN_FAULTS, PUBLISHERS, QUEUE_AGE_SECONDS, Load, disorder
from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import NativeServer

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "1"))
"""Kills of the server; more by MSGBUS_TEST_ROUNDS=20."""
FREEZES = int(os.environ.get("MSGBUS_TEST_FREEZES", "1"))
"""How often it is frozen; more by MSGBUS_TEST_FREEZES=30."""
FROZEN = 1.0
"""Seconds that it stands still."""


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    server = or_skip(lambda: start_native(request.param))
    yield server
    server.stop()


async def killed(server: NativeServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)


async def frozen(server: NativeServer) -> None:
    server.pause()
    await asyncio.sleep(FROZEN)
    server.resume()


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
        await load.until(created + QUEUE_AGE_SECONDS)
        for fault in [killed] * ROUNDS + [frozen] * FREEZES:
            await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
            await fault(server)
        await load.until_confirmed(len(load.confirmed) + MESSAGES_BETWEEN_FAULTS)
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
            await asyncio.sleep(QUEUE_AGE_SECONDS)
        for turn in range(ROUNDS):
            ids = [f"{turn}-{n}" for n in range(100)]
            probe.hold(lambda message: message.id.endswith("-5"))
            await publish_all(broker, "backlog", [Publication(b"x", message_id=one, key=str(turn)) for one in ids])
            await until_inside(probe, f"{turn}-5")
            await killed(server)
            await probe.release()
            await probe.until_handled(ids)
    assert disorder(probe.ids) == []
