"""Bad input, and a server that is not running: typed errors that say what to do, and never a password."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import pytest

from msgbus import AccessRefused, BrokerUnavailable, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers.server import Server

SECRET = "s3cret-canary"  # noqa: S105 - what must not appear anywhere


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound and not listening: nobody else gets it, and it refuses
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize("scheme", ["redis", "rabbitmq", "kafka"])
async def test_a_broker_that_is_down_is_tried_until_the_deadline(
    scheme: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    began = asyncio.get_running_loop().time()
    with pytest.raises(BrokerUnavailable, match=str(closed_port)) as caught:
        async with connect(f"{scheme}://user:{SECRET}@127.0.0.1:{closed_port}", deadline=1.5):
            pass
    assert asyncio.get_running_loop().time() - began >= 0.5, "it tried more than once"
    assert SECRET not in str(caught.value) + caplog.text


@pytest.mark.parametrize("scheme", ["redis", "rabbitmq", "kafka"])
async def test_a_broker_that_is_down_ends_a_publish_too(scheme: str, closed_port: int) -> None:
    broker = connect(f"{scheme}://127.0.0.1:{closed_port}", deadline=1)
    with pytest.raises(BrokerUnavailable):
        await broker.publish("q", b"x")
    await broker.close()


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_a_wrong_password_is_refused_at_once(
    name: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server: Server = request.getfixturevalue(f"{name}_server")
    host = server.url.partition("://")[2].rpartition("@")[2]
    began = asyncio.get_running_loop().time()
    with pytest.raises(AccessRefused, match=host.partition("/")[0]) as caught:
        async with connect(f"{name}://nobody:{SECRET}@{host}", deadline=60):
            pass
    assert asyncio.get_running_loop().time() - began < 30, "it did not go on until the deadline"
    assert SECRET not in str(caught.value) + caplog.text
