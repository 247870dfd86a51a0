"""What a Redis server does to connected clients, and that its keys are as documented."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from msgbus import QueueNotFound, connect
from msgbus.adapter.url import BrokerURL
from msgbus.publishing.publication import Publication
from msgbus.testing import Probe
from msgbus.testing.harness import publish_all
from msgbus.testing.probe import within
from tests.support.adapters.redis import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers.native import NativeServer

SPIN = """
local until_ = redis.call('TIME')[1] + 2
while tonumber(redis.call('TIME')[1]) < until_ do end
"""


@pytest.fixture(scope="module")
def server() -> Iterator[NativeServer]:
    with serving(**{"lua-time-limit": "50"}) as server:
        yield server


def cli(server: NativeServer, *words: str) -> Any:
    """What redis-cli shows."""
    ((_, port),) = BrokerURL.parse(server.url).hosts
    command = ("redis-cli", "-p", str(port), "--json", *words)
    shown = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return json.loads(shown.stdout)


async def test_everything_deleted_is_told_and_members_resume_when_the_queue_is_made_again(
    server: NativeServer, caplog: pytest.LogCaptureFixture
) -> None:
    probe = Probe()
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("flushed", groups=["g"])
        await (await broker.consume("flushed", probe)).ready()
        await publish_all(broker, "flushed", [Publication(b"x", message_id=str(n)) for n in range(5)])
        await probe.until_handled(map(str, range(5)))
        async with Redis.from_url(server.url) as redis:
            await redis.flushall()
        with pytest.raises(QueueNotFound, match="flushed"):
            await broker.publish("flushed", b"x")
        async with within(20, "the member saying so"):
            while "the queue does not exist" not in caplog.text:
                await asyncio.sleep(0.05)  # nobody tells
        said = len(caplog.records)
        await broker.create_queue("flushed", groups=["g"])
        await broker.publish("flushed", b"x", message_id="again")
        await probe.until_handled(["again"])
        assert said < 20, "no loop that fills the log"


async def test_a_script_that_holds_the_server_up_is_waited_for(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g") as broker, Redis.from_url(server.url) as redis:
        await broker.create_queue("busy", groups=["g"])
        await (await broker.consume("busy", probe)).ready()
        spinning = asyncio.ensure_future(redis.eval(SPIN, 0))
        while not spinning.done():
            await broker.publish("busy", b"x", message_id="patient")
        await spinning
        await probe.until_handled(["patient"])


async def test_redis_cli_shows_what_the_docs_say(server: NativeServer) -> None:
    async with connect(server.url, group="g") as broker:
        await broker.create_queue("shown", groups=["g"], retention=60)
        await broker.publish("shown", {"customer": 7}, message_id="order-17", key="7")
        probe = Probe()
        await broker.consume("shown", probe)
        await probe.until_handled(["order-17"])
        ((entry, flat),) = await asyncio.to_thread(cli, server, "XRANGE", "msgbus:{shown}", "-", "+")
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        assert list(fields) == ["id", "time", "body", "key", "headers"]
        assert (fields["id"], fields["key"], json.loads(fields["body"])) == ("order-17", "7", {"customer": 7})
        assert json.loads(fields["headers"]) == {"content-type": "application/json"}
        assert abs(int(entry.partition("-")[0]) - int(fields["time"])) < 60_000
        keys = await asyncio.to_thread(cli, server, "KEYS", "msgbus:*shown*")
        steps = {f"msgbus:{{shown.g.retry.{step}}}" for step in ("1s", "5s", "30s", "2m", "10m")}
        assert set(keys) == {"msgbus:{shown}", "msgbus:{shown.g.dlq}", "msgbus:about:{shown}", *steps}
        assert await asyncio.to_thread(cli, server, "HGET", "msgbus:about:{shown}", "retention") == "60000"
        groups = await asyncio.to_thread(cli, server, "XINFO", "GROUPS", "msgbus:{shown}")
        assert [group["name"] for group in groups] == ["g"]
        assert await asyncio.to_thread(cli, server, "XINFO", "GROUPS", "msgbus:{shown.g.dlq}") == []


async def test_entries_that_a_foreign_client_adds_are_messages(server: NativeServer) -> None:
    probe = Probe()
    async with connect(server.url, group="g") as broker, Redis.from_url(server.url) as redis:
        await broker.create_queue("foreign", groups=["g"])
        await broker.consume("foreign", probe)
        first: Any = await redis.xadd("msgbus:{foreign}", {"order": "17", "amount": "9.50"})
        await redis.xadd("msgbus:{foreign}", {"id": "theirs", "body": b"\x00\xff", "key": "k"})
        await probe.until_handled([first.decode(), "theirs"])
    mine, theirs = probe.handled
    assert mine.json() == {"order": "17", "amount": "9.50"}
    assert (theirs.body, theirs.key, theirs.attempt) == (b"\x00\xff", "k", 1)
