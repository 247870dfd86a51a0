"""Requests to the cluster while the admin client is closed, and afterwards."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.metadata import MetadataRequest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import BrokerUnavailable
from msgbus_kafka.admin import client as module
from msgbus_kafka.admin.client import AdminClient
from msgbus_kafka.connection import ConnectionSettings
from msgbus_kafka.options import KafkaOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture
def cluster() -> AdminClient:
    return AdminClient(ConnectionSettings(BrokerURL.parse("kafka://127.0.0.1:1"), KafkaOptions()))


def _starts(cluster: AdminClient, start: Callable[[], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The clients that were stopped; each is made by ``start`` and nothing is connected."""
    stopped: list[Any] = []

    async def stop(client: Any) -> None:
        stopped.append(client)

    async def reach() -> None:
        return

    monkeypatch.setattr(module, "stop_client", stop)
    monkeypatch.setattr(cluster, "_started", start)
    monkeypatch.setattr(cluster._access, "check_connection", reach)
    return stopped


async def test_whoever_asks_after_the_closing_connects_nothing(cluster: AdminClient) -> None:
    await cluster.close()
    with pytest.raises(BrokerUnavailable, match="was closed"):
        await cluster.send(MetadataRequest([]))
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        await cluster.connect()


async def test_a_client_that_has_started_when_all_is_closed_is_stopped(
    cluster: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, client = asyncio.Event(), SimpleNamespace()

    async def start() -> Any:
        await ready.wait()
        return client

    stopped = _starts(cluster, start, monkeypatch)
    asking = asyncio.ensure_future(cluster.send(MetadataRequest([])))
    await asyncio.sleep(0)
    await cluster.close()
    ready.set()
    with pytest.raises(BrokerUnavailable, match="was closed"):
        await asking
    assert stopped == [client]


async def test_a_cluster_may_be_connected_again(cluster: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []

    async def send(node: int, request: Any) -> str:
        answers.append((node, request))
        return "answer"

    async def start() -> Any:
        return SimpleNamespace(send=send, get_random_node=lambda: 7)

    stopped = _starts(cluster, start, monkeypatch)
    await cluster.connect()
    await cluster.close()
    assert len(stopped) == 1
    await cluster.connect()
    request = MetadataRequest([])
    assert await cluster.send(request) == "answer"
    assert answers == [(7, request)]


async def test_a_start_that_is_cancelled_in_the_moment_in_which_it_ends_leaves_no_client(
    cluster: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SimpleNamespace()

    async def start() -> Any:
        connecting.cancel()
        return client

    stopped = _starts(cluster, start, monkeypatch)
    connecting = asyncio.ensure_future(cluster.connect())
    await asyncio.wait({connecting})
    assert connecting.cancelled()
    await cluster.close()
    assert stopped == [client]
