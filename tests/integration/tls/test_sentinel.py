"""Sentinels and servers with TLS and different logins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from msgbus import AccessRefused, ConfigurationError, connect
from msgbus.testing import Probe
from msgbus.testing.probe import within
from msgbus_redis.connection.connection import RedisConnection
from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.server import ServerAddress
from tests.support.servers import start_cluster
from tests.support.servers.fixtures import or_skip
from tests.support.servers.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Cluster
    from tests.support.servers.security import Security


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    cluster = or_skip(lambda: start_cluster("redis", secured=True))
    yield cluster
    cluster.stop()


def security(servers: Cluster) -> Security:
    found = servers.nodes[0].recipe.security
    assert found is not None
    return found


def as_app(servers: Cluster) -> str:
    """The cluster's URL for the user with the least rights, at the servers as at the sentinels."""
    return servers.url.replace(f"//{security(servers).login('admin')}@", f"//{security(servers).login('app')}@")


async def test_members_and_publishers_follow_the_primary_with_the_least_rights(servers: Cluster) -> None:
    probe = Probe()
    async with connect(as_app(servers), group="g", deadline=60, visibility=5) as broker:
        await broker.create_queue("watched", groups=["g"])
        await (await broker.consume("watched", probe)).ready()
        await broker.publish("watched", b"x", message_id="before")
        await probe.until_handled(["before"])
        sentinel, word = servers.sentinels[0], security(servers).passwords["admin"]
        admin = ConnectionPool(
            ServerAddress(
                LOOPBACK, sentinel.recipe.port, username="admin", password=word, tls=security(servers).context()
            )
        )
        await admin.run_one(("SENTINEL", "CKQUORUM", "main"), "asking")
        await admin.close()
        await asyncio.to_thread(servers.nodes[0].kill)
        await broker.publish("watched", b"x", message_id="after")
        await probe.until_handled(["after"])
    await asyncio.to_thread(servers.nodes[0].restart)


@pytest.mark.parametrize("wrong", ["sentinel_password", "the servers' password", "ca", "no login at the sentinels"])
async def test_who_may_not_is_refused_at_once(servers: Cluster, wrong: str) -> None:
    url, words = as_app(servers), security(servers).passwords
    match wrong:
        case "sentinel_password":
            url = url.replace(f"sentinel_password={quote(words['app'])}", "sentinel_password=wrong")
        case "the servers' password":
            url = url.replace(f":{quote(words['app'])}@", ":wrong@")
        case "ca":
            url = url.replace(f"ca={security(servers).ca}&", "")
        case _:
            url, _, _ = url.partition("&sentinel_user")
    assert url != as_app(servers)
    with pytest.raises(AccessRefused) as refused:
        async with connect(url, deadline=30):
            pass
    assert not any(word in str(refused.value) for word in words.values())


@pytest.mark.parametrize("given", ["service=main", "sentinel_user=u&sentinel_password=secret"])
async def test_what_is_for_sentinels_is_refused_where_there_are_none(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://") as refused:
        async with connect(f"redis://localhost?{given}"):
            pass
    assert "secret" not in str(refused.value)


async def test_a_connection_is_closed_though_a_frozen_server_does_not_agree(servers: Cluster) -> None:
    sentinel, secrets = servers.sentinels[0], security(servers)
    word = secrets.passwords["admin"]
    line = RedisConnection(
        ServerAddress(LOOPBACK, sentinel.recipe.port, username="admin", password=word, tls=secrets.context())
    )
    await line.ready()
    writer = line._connection._writer
    assert writer is not None
    socket = writer.get_extra_info("socket")
    await asyncio.to_thread(sentinel.pause)
    try:
        async with within(5, "the end of the connection"):
            await line.close()
            while socket.fileno() >= 0:
                await asyncio.sleep(0)
    finally:
        await asyncio.to_thread(sentinel.resume)
