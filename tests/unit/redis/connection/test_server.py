"""What msgbus needs of redis-py beyond its documented interface is checked at start."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio.connection import Connection, SSLConnection

from msgbus.adapter.url import BrokerURL
from msgbus.errors import ConfigurationError
from msgbus_redis import RedisAdapter, RedisOptions
from msgbus_redis.connection import server
from msgbus_redis.connection.server import ServerAddress, Used, disconnect, missing, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = (Used(Connection, "_gone"), Used(Connection, "disconnect", ("nowait", "abort")))


@pytest.fixture
def forgotten() -> Iterator[None]:
    verify.cache_clear()
    yield
    verify.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_the_installed_redis_py_has_everything() -> None:
    verify()
    assert missing(server.USED) == []


def test_a_missing_name_and_a_missing_parameter_are_found() -> None:
    assert missing(GONE) == ["Connection._gone", "Connection.disconnect(nowait, abort)"]


@pytest.mark.usefixtures("forgotten")
def test_an_adapter_on_another_redis_py_is_one_error_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "USED", GONE)
    monkeypatch.setattr(server, "version", lambda _: "9.1.2")
    with pytest.raises(ConfigurationError, match=r"redis-py 9\.1\.2 .*_gone, .*abort\) missing; install redis>=8,<9"):
        RedisAdapter(BrokerURL.parse("redis://localhost"), RedisOptions())


def test_redis_py_connects_with_the_context_of_the_url() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connection = ServerAddress("h", 1, tls=context).make_connection()
    assert connection._connection_arguments()["ssl"] is context


def test_a_context_that_redis_py_does_not_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(SSLConnection, "_connection_arguments", lambda _: {"ssl": other})
    with pytest.raises(ConfigurationError, match="TLS options"):
        ServerAddress("h", 1, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)).make_connection()


@pytest.mark.parametrize(
    ("error", "level"),
    [(AttributeError("_writer"), "WARNING"), (OSError("reset"), "DEBUG"), (TimeoutError("late"), "DEBUG")],
)
async def test_what_closing_a_connection_raises_is_logged(
    error: Exception, level: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Connection, "disconnect", fail)
    with caplog.at_level(logging.DEBUG, "msgbus.redis"):
        await disconnect(ServerAddress("h", 1).make_connection())
    assert [(one.name, one.levelname) for one in caplog.records if "closing" in one.message] == [
        ("msgbus.redis", level)
    ]


async def test_a_disconnect_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Connection, "disconnect", wait)
    async with asyncio.timeout(5.0):
        await disconnect(ServerAddress("h", 1).make_connection(), wait=0.01)
