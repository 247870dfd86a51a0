"""Kafka's URL, and the connections that are made once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    ConfigurationError,
)
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka import connection as module
from msgbus_kafka.connection import ConnectionSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.mark.parametrize("url", ["kafka://", "kafka://h/path"])
def test_a_url_that_is_none_of_kafkas_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="kafka"):
        KafkaAdapter(BrokerURL.parse(url), KafkaOptions())


@pytest.mark.parametrize(
    "connects",
    [lambda access: access.check_connection(), lambda access: access.fetch_metadata((), ())],
    ids=["check_connection", "fetch_metadata"],
)
async def test_a_connect_that_is_cancelled_in_the_moment_in_which_it_ends_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch, connects: Callable[[ConnectionSettings], Awaitable[object]]
) -> None:
    closed: list[str] = []

    async def create_conn(host: str, port: int, **_: Any) -> Any:
        connecting.cancel()
        name = f"{host}:{port}"
        return SimpleNamespace(close=lambda: closed.append(name), send=lambda _: asyncio.Event().wait())

    monkeypatch.setattr(module, "create_conn", create_conn)
    access = ConnectionSettings(BrokerURL.parse("kafka://here:1"), KafkaOptions())
    connecting = asyncio.ensure_future(connects(access))
    await asyncio.wait({connecting}, timeout=5)
    assert connecting.cancelled()
    assert closed == ["here:1"]
