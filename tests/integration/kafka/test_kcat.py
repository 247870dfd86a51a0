"""kcat, a third-party client: it produces to our queues, consumes from them, and its topics are queues."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from msgbus import connect
from msgbus.testing import Harness, Probe
from msgbus.testing.probe import within

if TYPE_CHECKING:
    from tests.support.servers.server import Server

ROWS = [(f"k{n % 3}", f"body {n}") for n in range(20)]


@pytest.fixture(autouse=True)
def _there() -> None:
    if not shutil.which("kcat"):
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("kcat is not installed: make brokers installs it (Debian's kafkacat)", pytrace=False)
        pytest.skip("kcat is not installed: make brokers installs it (Debian's kafkacat)")


async def kcat(server: Server, *arguments: str, given: str = "") -> str:
    """What ``kcat -b SERVER ARGUMENTS`` says."""
    process = await asyncio.create_subprocess_exec(
        *("kcat", "-b", server.url.removeprefix("kafka://"), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with within(60, "kcat"):
        output, errors = await process.communicate(given.encode())
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_what_kcat_produces_is_consumed_with_key_and_headers(kafka_server: Server) -> None:
    async with Harness(kafka_server.url) as harness:
        queue, probe = await harness.queue("g", partitions=4), Probe()
        await harness.member(queue, probe)
        lines = "".join(f"{key}:{body}\n" for key, body in ROWS)
        await kcat(kafka_server, "-P", "-t", queue, "-K", ":", "-H", "colour=grün", "-H", "empty=", given=lines)
        await probe.until(lambda: len(probe.handled) == len(ROWS), "all that kcat produced")
    handled = [(one.key, one.body.decode()) for one in probe.handled]
    for key in ("k0", "k1", "k2"):
        assert [row for row in handled if row[0] == key] == [row for row in ROWS if row[0] == key]
    assert {tuple(one.headers.items()) for one in probe.handled} == {(("colour", "grün"), ("empty", ""))}
    assert {one.id for one in probe.handled} == {one.origin for one in probe.handled}


async def test_kcat_reads_what_is_published_in_the_partition_it_would_have_chosen(kafka_server: Server) -> None:
    async with Harness(kafka_server.url) as harness:
        queue = await harness.queue(partitions=4)
        broker = await harness.broker()
        for number, (key, body) in enumerate(ROWS):
            await broker.publish(queue, body, message_id=str(number), key=key, headers={"colour": "grün"})
        lines = "".join(f"{key}:from kcat\n" for key in ("k0", "k1", "k2"))
        # Java's own choice: what every Kafka client agrees on when it is asked to.
        await kcat(kafka_server, "-P", "-t", queue, "-K", ":", "-X", "topic.partitioner=murmur2_random", given=lines)
        output = await kcat(kafka_server, "-C", "-t", queue, "-e", "-J", "-q")
    records = [json.loads(line) for line in output.splitlines()]
    ours = {record["headers"][1]: record for record in records if "headers" in record}
    assert [(ours[str(n)]["key"], ours[str(n)]["payload"]) for n in range(len(ROWS))] == ROWS
    named = dict(zip(ours["0"]["headers"][::2], ours["0"]["headers"][1::2], strict=True))
    assert named["msgbus-id"] == "0"
    assert named["colour"] == "grün"
    places = {(record["key"], record["partition"]) for record in records}
    assert len(places) == 3, "kcat's records lie beside ours of the same key"


async def test_a_topic_that_others_made_is_a_queue(kafka_server: Server) -> None:
    """With settings of its own, made by another client's words for it."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    probe = Probe()
    async with Harness(kafka_server.url) as harness:
        queue = harness.name("foreign")
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.url.removeprefix("kafka://"))
        await admin.start()
        await admin.create_topics([NewTopic(queue, 3, 1, topic_configs={"max.message.bytes": "100000"})])
        await admin.close()
        await kcat(kafka_server, "-P", "-t", queue, given="early\n")
        await harness.member(queue, probe)
        async with connect(kafka_server.url) as broker:
            await broker.create_queue(queue)
            assert len((await broker.lag(queue, group="nobody")).partitions) == 3
            await broker.publish(queue, "late", message_id="late")
        await probe.until(lambda: sorted(one.body for one in probe.handled) == [b"early", b"late"], "both")
