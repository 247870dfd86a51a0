"""With a Docker engine (`make test-docker`): docker-compose.yml comes up, and a test's server can be a container."""

from __future__ import annotations

import asyncio
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Probe
from tests.support.paths import ROOT
from tests.support.servers import server_version
from tests.support.servers.container import engine, start_container

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = ROOT / "docker-compose.yml"
URLS = dict(re.findall(r"export MSGBUS_TEST_(\w+)_URL=(\S+)", FILE.read_text(encoding="utf-8")))
PULLED = 600
"""Seconds for `up`, the pulling of images included."""


def compose(*words: str) -> None:
    subprocess.run(  # noqa: S603 - the words are ours
        ["docker", "compose", "-p", "msgbus-tests", "-f", str(FILE), *words],  # noqa: S607
        check=True,
        timeout=PULLED,
    )


@pytest.fixture(scope="module")
def composed() -> Iterator[None]:
    """Everything in docker-compose.yml, healthy, on the ports that it names."""
    assert engine(), "no Docker engine answers"
    try:
        compose("up", "--detach", "--wait")
        yield
    finally:
        compose("down", "--volumes")


async def round_trip(url: str) -> None:
    probe = Probe()
    async with connect(url, group="g", deadline=60) as broker:
        await broker.create_queue("docker", groups=["g"])
        subscription = await broker.consume("docker", probe)
        await subscription.ready()
        await broker.publish("docker", b"x", message_id="one")
        await probe.until_handled(["one"])


@pytest.mark.timeout(PULLED)
@pytest.mark.parametrize("name", sorted(URLS))
async def test_what_compose_brings_up_serves_at_the_address_in_its_file(name: str, composed: None) -> None:
    del composed
    await round_trip(URLS[name])
    assert await server_version(URLS[name])


@pytest.mark.timeout(PULLED)
@pytest.mark.parametrize("name", ["redis", "rabbitmq", "kafka"])
async def test_a_test_can_have_its_server_in_a_container(name: str) -> None:
    server = await asyncio.to_thread(start_container, name)
    try:
        assert server.origin == "container"
        await round_trip(server.url)
    finally:
        await asyncio.to_thread(server.stop)
