"""``msgbus doctor`` on servers with dangerous settings, and on none."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from msgbus import ConfigurationError, connect
from msgbus.adapter.address import Address
from msgbus.testing.probe import within
from msgbus_kafka import KafkaAdapter
from tests.support.adapters import rabbitmq as rabbit_bench
from tests.support.adapters import redis as redis_bench
from tests.support.adapters.kafka_group import delete
from tests.support.command_line import command
from tests.support.paths import ROOT
from tests.support.servers.url import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus import Broker, Diagnosis
    from tests.support.servers.server import Server


async def doctor(url: str, *options: str) -> tuple[int, str]:
    """Exit code and output; nothing else is said."""
    code, output, messages = await command(url, "doctor", *options)
    assert not messages
    return code, output


async def until(broker: Broker, condition: Callable[[Diagnosis], bool]) -> Diagnosis:
    """A server looks at its memory once a second."""
    async with within(20, "the alarm"):
        while not condition(checkup := await broker.diagnose()):
            pass
    return checkup


async def test_a_redis_without_append_only_file_is_found_as_the_page_says_and_warned_of_in_the_same_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = (ROOT / "docs" / "how-to" / "diagnose-a-server.md").read_text()
    (shown,) = re.findall(r"```\n\$ msgbus doctor\n(.*?)```", page, re.DOTALL)
    with redis_bench.serving(appendonly="no") as server:
        code, output = await doctor(server.url)
        async with connect(server.url) as broker:
            (finding,) = (await broker.diagnose()).findings
    place = f"127.0.0.1:{parse(server.url).port}"
    of_the_page = re.sub(r"^\w+ \d+\.\d+\.\d+ ", "Redis 7.0.15 ", output.replace(place, "localhost:6379"))
    assert (code, of_the_page) == (0, shown)
    (warned,) = [one.getMessage() for one in caplog.records if "appendonly" in one.message]
    assert warned == f"redis {place}: {finding}"


async def test_a_redis_that_would_evict_queues_is_an_error_and_refused_in_the_same_words() -> None:
    with redis_bench.serving(**{"maxmemory-policy": "allkeys-lru"}) as server:
        code, output = await doctor(server.url, "--json")
        broker = connect(server.url)
        with pytest.raises(ConfigurationError) as refused:
            async with broker:
                pass
    told = json.loads(output)
    (evicting,) = told["findings"]
    assert (code, told["passed"], evicting["severity"]) == (1, False, "error")
    assert f"{evicting['what']}; {evicting['remedy']}" in str(refused.value)


async def test_a_redis_that_shows_nothing_or_takes_no_writes_is_told_of() -> None:
    with redis_bench.serving() as server:
        async with Redis.from_url(server.url) as redis:
            assert (await doctor(server.url))[1].endswith("\nno errors, no warnings\n")
            await redis.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["msgbus:*"], commands=["+xadd"])
            code, output = await doctor(server.url.replace("redis://", "redis://app:secret@"))
            assert (code, "may not read" in output) == (0, True)
            await redis.config_set("maxmemory", "1")
            code, output = await doctor(server.url)
            assert (code, "no memory left" in output) == (1, True)


async def test_a_rabbitmq_with_an_alarm_or_without_a_right_is_an_error_until_it_is_mended() -> None:
    with rabbit_bench.serving() as server:
        broker = connect(server.url)
        well = await broker.diagnose()
        assert well.findings == ()
        assert re.match(r"RabbitMQ [34]\.\d+\.\d+ at 127", well.server)
        await asyncio.to_thread(rabbit_bench.ctl, server, "set_vm_memory_high_watermark", "0.0000001")
        short = await until(broker, lambda one: not one.passed)
        assert short.findings[0].what == "the server takes no publishes: low on memory"
        code, output = await doctor(server.url)
        assert (code, short.findings[0].what in output) == (1, True)
        await asyncio.to_thread(rabbit_bench.ctl, server, "set_vm_memory_high_watermark", "absolute", "512MB")
        assert await until(broker, lambda one: one.passed) == well
        await asyncio.to_thread(rabbit_bench.ctl, server, "set_permissions", "guest", ".*", "^shop[.]", ".*")
        (refused,) = (await broker.diagnose()).findings
        assert "may not write to the default exchange" in refused.what
        await broker.close()


async def test_a_kafka_of_one_node_and_a_topic_that_cannot_be_written_are_told_of(kafka_server: Server) -> None:
    async with connect(kafka_server.url) as broker:
        before = await broker.diagnose()
        name = "doctor-cannot-be-written"
        await broker.create_queue(name, groups=["g"], native={"min.insync.replicas": "2"})
        after = await broker.diagnose()
        code, output = await doctor(kafka_server.url)
        adapter = broker._connection.adapter
        assert isinstance(adapter, KafkaAdapter)
        await delete(adapter, Address(name))  # who examines this server after us shall not find it
    assert re.match(r"Kafka (4\.0 or later|3\.\d) at ", output)
    assert [one.severity for one in before.findings if "one node" in one.what] == ["warning"]
    assert (before.passed, after.passed, code) == (True, False, 1)
    assert f"publishes are refused: {name}\n" in output


@pytest.mark.parametrize("scheme", ["redis", "rabbitmq", "kafka"])
async def test_a_server_that_is_down_is_one_line_with_the_errors_name_and_the_way_out(scheme: str) -> None:
    code, output = await doctor(f"{scheme}://somebody:secret@127.0.0.1:1")
    where, what, remedy, count = output.splitlines()
    assert (code, where, count) == (1, f"{scheme}://somebody:***@127.0.0.1:1", "1 error, no warnings")
    assert what.startswith("error   BrokerUnavailable: ")
    assert "127.0.0.1:1" in what
    assert "start the server" in remedy
    assert "secret" not in output


async def test_memory_is_well_and_stores_nothing() -> None:
    code, output = await doctor("memory://x")
    assert code == 0
    assert "nothing is stored" in output
    code, output, messages = await command("redsi://x", "doctor")
    assert (code, output, "did you mean 'redis'?" in messages) == (2, "", True)
