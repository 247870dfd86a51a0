"""Records that cannot be read, and partitions that the broker does not give, on a real server.

Each stops its own partition or none: every other goes on, and nothing of it is lost or repeated.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import aiokafka.codec
import pytest

import msgbus_kafka.consumer.unreadable_records
from msgbus import Backoff, RetryPolicy
from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import BrokerError, ConfigurationError
from msgbus.testing import Harness, Probe
from tests.support.adapters.kafka_group import DEADLINE, Group, connected, made, name, publish
from tests.support.kafka.raw_batches import ZSTD, batch, put, read_refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus_kafka import KafkaAdapter
    from tests.support.adapters.kafka_group import Member
    from tests.support.servers.native import NativeServer


@pytest.fixture
def no_zstd(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As on a machine without cramjam, once its batches have been made."""
    monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
    return monkeypatch


def corrupt(server: NativeServer, queue: Address, body: bytes, partition: int = 0) -> None:
    """Change a body on the server's disk."""
    (log,) = server.folder.glob(f"**/{queue}-{partition}/*.log")
    place = log.read_bytes().index(body)
    with log.open("r+b") as file:
        file.seek(place)
        file.write(body.swapcase())


def trouble(member: Member) -> str:
    return "; ".join(filter(None, map(member.consumer.problem, member.room)))


async def until_troubled(member: Member, text: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while text not in trouble(member):
            await asyncio.sleep(0.05)


def ids(queue: Address, offsets: Sequence[int], partition: int = 0) -> list[str]:
    """What records without an id are called."""
    return [f"{queue}-{partition}@{offset}" for offset in offsets]


# A codec that is not installed.


async def test_a_codec_that_is_missing_stops_its_partition_and_costs_no_other_anything(
    adapter: KafkaAdapter, group: Group, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = batch([b"z"] * 3, codec=ZSTD)
    bad, good = await made(adapter, partitions=2), await made(adapter, partitions=4)
    member = await group.member(bad, good, limit=500)
    await put(adapter, bad, batch([b"a", b"b"]))
    monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
    assert await put(adapter, bad, compressed) == 2
    for number in range(0, 3000, 100):  # some are on their way whenever the fault shows
        await publish(adapter, good, range(number, number + 100))
    await put(adapter, bad, batch([b"c"]), partition=1)
    await group.until_handled([*range(3000), *ids(bad, [0, 1]), *ids(bad, [0], 1)])
    assert group.repeated == 0
    await until_troubled(member, f"queue {bad}, partition 0: a record at offset 2")
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 1
    assert 'pip install "msgbus[kafka]"' in errors[0]
    await member.leave()
    monkeypatch.undo()
    await group.member(bad)
    await group.until_handled(ids(bad, [2, 3, 4]))
    assert group.repeated == 0
    assert (await adapter.lag(good, group.name)).total == 0


async def test_a_queue_whose_codec_is_missing_is_refused_by_name_with_the_way_out(
    adapter: KafkaAdapter, no_zstd: pytest.MonkeyPatch
) -> None:
    queue = name()
    with pytest.raises(
        ConfigurationError, match=rf'queue {queue}: compression.type is zstd.*pip install "msgbus\[kafka'
    ):
        await adapter.create_queues([QueueSpec(address=queue, native={"compression.type": "zstd"})])
    assert (await adapter._cluster.topic_states([str(queue)]))[str(queue)].missing
    no_zstd.undo()
    await adapter.create_queues([QueueSpec(address=queue, native={"compression.type": "zstd"})])
    no_zstd.setattr(aiokafka.codec, "has_zstd", lambda: False)
    with pytest.raises(ConfigurationError, match=r"compression.type is zstd"):
        await adapter.create_queues([QueueSpec(address=queue)])


async def test_doctor_names_codecs_that_are_missing_and_queues_that_need_them(
    adapter: KafkaAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await made(adapter, native={"compression.type": "zstd"})
    await made_part(adapter, Address(queue.queue, "g", "dlq"))
    assert not [one for one in (await adapter.diagnose()).findings if "codec" in one.what]
    monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
    checkup = await adapter.diagnose()
    assert not checkup.passed
    found = {one.severity: one for one in checkup.findings if "codec" in one.what}
    assert str(queue) in found["error"].what
    assert "zstd" in found["warning"].what
    assert found["error"].remedy == found["warning"].remedy == 'pip install "msgbus[kafka]"'


async def made_part(adapter: KafkaAdapter, address: Address) -> Address:
    await adapter.create_queues([QueueSpec(address=address)])
    return address


# A header name that is no UTF-8.


async def test_a_header_name_that_is_no_utf8_is_read_and_its_partition_goes_on(
    adapter: KafkaAdapter, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await made(adapter, partitions=1), await made(adapter, partitions=2)
    await put(adapter, bad, batch([b"before"]))
    await put(adapter, bad, batch([b"poison", b"too"], latin=True))
    await put(adapter, bad, batch([b"after"], headers=[("a", None), ("a", b"2")]))
    member = await group.member(bad, good, limit=500)
    await publish(adapter, good, range(500))
    await group.until_handled([*range(500), *ids(bad, range(4))])
    assert group.repeated == 0
    assert not trouble(member)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_a_message_with_such_a_header_name_is_retried_and_dead_lettered(server: NativeServer) -> None:
    async with connected(server) as adapter, Harness(server.url) as harness:
        queue = await harness.queue("g", partitions=1)
        broker = await harness.broker()
        seen: list[dict[str, str]] = []

        async def failing(message: Any) -> None:
            seen.append(dict(message.headers))
            raise KeyError(message.id)

        await broker.consume(queue, failing, group="g", retry=RetryPolicy(delays=(1,)))

        await put(adapter, Address(queue), batch([b"poison"], latin=True))
        letters = broker.dead_letters(queue, group="g")
        async with asyncio.timeout(DEADLINE):
            while not await letters.count():
                await asyncio.sleep(0.1)
        assert seen[0] == {"gr\udcfcn": "1"}
        assert seen[-1] == {"gr\\xfcn": "1"}


# A record that is corrupt.


async def test_several_partitions_with_corrupt_records_stop_alone_wherever_it_lies(
    adapter: KafkaAdapter, server: NativeServer, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await made(adapter, partitions=3), await made(adapter, partitions=3)
    await put(adapter, bad, batch([b"first-a"]), 0)  # the first of its partition
    await put(adapter, bad, batch([b"ok"]), 0)
    await put(adapter, bad, batch([b"one", b"middle-b", b"three"]), 1)  # in the middle of a batch
    for _ in range(700):  # behind more than one fetch
        await put(adapter, bad, batch([b"x"]), 2)
    await put(adapter, bad, batch([b"late-c"]), 2)
    for body, partition in ((b"first-a", 0), (b"middle-b", 1), (b"late-c", 2)):
        corrupt(server, bad, body, partition)
    await publish(adapter, good, range(600))
    member = await group.member(bad, good, limit=2000)
    await group.until_handled([*range(600), *ids(bad, range(700), 2)])
    for partition, offset in ((0, 0), (1, 0), (2, 700)):
        await until_troubled(member, f"queue {bad}, partition {partition}: a record at offset {offset} or just")
    await publish(adapter, good, range(600, 900))
    await group.until_handled(range(900))
    assert group.repeated == 0
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 3
    assert all("corrupt on the server" in one and "rewind" in one for one in errors)


async def test_a_rebalance_and_a_restart_find_a_stopped_partition_again_and_repeat_nothing(
    adapter: KafkaAdapter, server: NativeServer, group: Group
) -> None:
    bad, good = await made(adapter, partitions=1), await made(adapter, partitions=4)
    await put(adapter, bad, batch([b"fine"]))
    await put(adapter, bad, batch([b"broken-x"]))
    corrupt(server, bad, b"broken-x")
    first = await group.member(bad, good, limit=100)
    await publish(adapter, good, range(200))
    await until_troubled(first, "offset 1")
    second = await group.member(bad, good, limit=100)
    await publish(adapter, good, range(200, 400))
    await group.until_handled([*range(400), *ids(bad, [0])])
    async with asyncio.timeout(DEADLINE):
        while not (trouble(first) or trouble(second)):
            await asyncio.sleep(0.05)
    for member in (first, second):
        await member.leave()
    third = await group.member(bad, good, limit=100)
    await until_troubled(third, "offset 1")
    await publish(adapter, good, range(400, 600))
    await group.until_handled(range(600))
    assert group.repeated == 0
    assert (await adapter.lag(bad, group.name)).total == 1


# A right that is taken.


async def test_a_right_that_is_taken_from_one_queue_leaves_the_others_and_heals_when_given_back(
    adapter: KafkaAdapter,
    server: NativeServer,
    group: Group,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(msgbus_kafka.consumer.unreadable_records, "REFUSED_BACKOFF", Backoff(1.0, 1.0))
    closed, open_ = await made(adapter, partitions=2), await made(adapter, partitions=2)
    member = await group.member(closed, open_, limit=100)
    await publish(adapter, closed, ["before"])
    await group.until_handled(["before"])
    with read_refused(server.url, closed):
        await until_troubled(member, f"queue {closed}, partition 1: the right to read it is missing")
        for number in range(100):
            await publish(adapter, open_, [number])
        await publish(adapter, closed, ["meanwhile"])
        await group.until_handled(range(100))
        assert "meanwhile" not in {one.id for one in group.handled}
    await group.until_handled(["meanwhile"])
    async with asyncio.timeout(DEADLINE):
        while trouble(member):
            await asyncio.sleep(0.05)
    assert group.repeated == 0
    said = [
        one.getMessage() for one in caplog.records if one.name == "msgbus.kafka" and str(closed) in one.getMessage()
    ]
    assert len(said) == 4, said  # for each partition once when it begins, and once when it ends


async def test_the_commits_of_other_queues_go_on_when_a_right_is_taken_with_messages_in_hand(
    adapter: KafkaAdapter, server: NativeServer, group: Group
) -> None:
    closed, open_ = await made(adapter, partitions=1), await made(adapter, partitions=1)
    member = await group.member(closed, open_, limit=100)
    member.holding = True
    await publish(adapter, closed, ["in hand"])
    await publish(adapter, open_, ["too"])
    await group.until(lambda: len(member.held) == 2, "holding both")
    with read_refused(server.url, closed):
        await until_troubled(member, str(closed))
        await member.handle(member.held)
        async with asyncio.timeout(DEADLINE):
            while (await adapter.lag(open_, group.name)).total:
                await asyncio.sleep(0.05)


# History and dead letters.


async def test_a_history_names_the_record_that_it_cannot_read(adapter: KafkaAdapter, server: NativeServer) -> None:
    queue = await made(adapter, partitions=2)
    await put(adapter, queue, batch([b"a", b"b"], latin=True))
    await put(adapter, queue, batch([b"hidden-z"]))
    await put(adapter, queue, batch([b"c"]), 1)
    corrupt(server, queue, b"hidden-z")
    stretch = await adapter.open_history(queue, "g", "oldest", None)
    read: list[str] = []

    async def read_all() -> None:
        async with asyncio.timeout(DEADLINE):
            while deliveries := await stretch.read(10):
                read.extend(one.message.origin for one in deliveries)

    try:
        with pytest.raises(BrokerError, match=rf"record at {queue}-0@2 or just behind it is corrupt"):
            await read_all()
        assert sorted(read) in (ids(queue, [0, 1]), [*ids(queue, [0, 1]), *ids(queue, [0], 1)])
    finally:
        await stretch.close()


async def test_dead_letters_name_the_record_that_cannot_be_read_and_go_on_when_it_can(
    adapter: KafkaAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    dlq = await made_part(adapter, Address(name().queue, "g", "dlq"))
    assert await adapter.publish([Outgoing(dlq, "id", 0, b"x", None, {"msgbus-letter": "one"})], DEADLINE) == [None]
    await put(adapter, dlq, batch([b"y"], key=b"two", latin=True))
    await put(adapter, dlq, batch([b"z"], codec=ZSTD, key=b"three"))
    monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
    letters = await adapter.open_dead_letters(dlq)
    try:
        for _ in range(2):
            with pytest.raises(BrokerError, match=rf'{dlq}-0@2 .*codec.*pip install "msgbus\[kafka\]"'):
                await letters.count()
        monkeypatch.undo()
        assert await letters.count() == (3, True)
        page, _ = await letters.look(None, 10)
        assert [one.message.body for one in page] == [b"x", b"y", b"z"]
    finally:
        await letters.close()


async def test_an_unreadable_record_in_a_retry_queue_stops_that_queue_alone(
    adapter: KafkaAdapter, server: NativeServer, group: Group
) -> None:
    queue = await made(adapter, partitions=2)
    step = await made_part(adapter, Address(queue.queue, group.name, "retry.5s"))
    await put(adapter, step, batch([b"broken-r"]))
    corrupt(server, step, b"broken-r")
    member = await group.member(queue, step, limit=100)
    await until_troubled(member, f"queue {step}, partition 0")
    await publish(adapter, queue, range(100))
    await group.until_handled(range(100))
    assert group.repeated == 0


# Health.


async def test_health_names_the_partition_while_it_is_stopped(server: NativeServer) -> None:
    probe = Probe()
    async with connected(server) as adapter, Harness(server.url) as harness:
        queue = await harness.queue("g", partitions=1)
        broker = await harness.member(queue, probe)
        await put(adapter, Address(queue), batch([b"broken-h"]))
        corrupt(server, Address(queue), b"broken-h")
        async with asyncio.timeout(DEADLINE):
            while not any("offset 0 or just behind" in one for one in (await broker.health()).reasons):
                await asyncio.sleep(0.1)
        assert not (await broker.health()).ready
