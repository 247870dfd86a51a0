"""500 messages a second to a healthy queue, beside one of the same group that gets every kind of unreadable record.

MSGBUS_TEST_SECONDS is how long: 10 as a rule, 600 in the long form.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiokafka.codec
import pytest

import msgbus_kafka.consumer.unreadable_records
from msgbus import Backoff
from tests.support.adapters.kafka_group import DEADLINE, Group, connected, made, publish
from tests.support.kafka.raw_batches import ZSTD, batch, delete_before, put, read_refused, transactional
from tests.support.servers.fixtures import or_skip
from tests.support.servers.native import start_native

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_kafka import KafkaAdapter
    from tests.support.servers.native import NativeServer

SECONDS = float(os.environ.get("MSGBUS_TEST_SECONDS", "10"))
RATE, GRAIN, PARTITIONS = 500, 5, 60


class Sickness:
    """Puts into a queue what cannot be read, in one partition after the other."""

    def __init__(self, server: NativeServer, adapter: KafkaAdapter, queue: Address) -> None:
        self._server = server
        self._adapter = adapter
        self._queue = queue
        self._compressed = batch([b"z"] * 3, codec=ZSTD)
        self.at = 0

    async def codec(self) -> None:
        await put(self._adapter, self._queue, self._compressed, self.at)

    async def header(self) -> None:
        await put(self._adapter, self._queue, batch([b"h"] * 3, latin=True), self.at)

    async def checksum(self) -> None:
        body = b"broken-%d-body" % self.at
        with self._server.folder.glob(f"**/{self._queue}-{self.at}/*.log").__next__().open("r+b") as file:
            await put(self._adapter, self._queue, batch([b"one", body, b"three"]), self.at)
            place = file.read().rindex(body)
            file.seek(place)
            file.write(body.swapcase())

    async def right(self) -> None:
        with read_refused(self._server.url, self._queue):
            await put(self._adapter, self._queue, batch([b"r"]), self.at)
            await asyncio.sleep(SECONDS / 100)

    async def transactions(self) -> None:
        async with transactional(self._server.url, f"t-{self._queue}") as producer:
            for end in (producer.abort_transaction, producer.commit_transaction):
                await producer.begin_transaction()
                await producer.send_and_wait(str(self._queue), b"t", partition=self.at)
                await end()

    async def retention(self) -> None:
        last = await put(self._adapter, self._queue, batch([b"gone"] * 5))
        await delete_before(self._adapter, self._queue, last + 3)

    @property
    def kinds(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (self.codec, self.header, self.checksum, self.right, self.transactions, self.retention)


@pytest.mark.timeout(SECONDS * 2 + 240)
async def test_every_kind_of_unreadable_record_costs_a_healthy_queue_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    monkeypatch.setattr(msgbus_kafka.consumer.unreadable_records, "REFUSED_BACKOFF", Backoff(1.0, 1.0))
    server = or_skip(lambda: start_native("kafka"))
    try:
        async with connected(server) as adapter, AsyncExitStack() as stack:
            sick, healthy = await made(adapter, "sick", partitions=PARTITIONS), await made(adapter, partitions=4)
            sickness = Sickness(server, adapter, sick)
            monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
            group = Group(adapter, stack)
            for _ in range(2):
                await group.member(sick, healthy, limit=500)
            infecting = asyncio.create_task(infect(sickness))
            published = await steadily(adapter, healthy)
            await infecting
            third = await group.member(sick, healthy, limit=500)  # a rebalance, with all of it there
            await publish(adapter, healthy, range(published, published + 500))
            await group.until_handled(range(published + 500))
            await third.leave()
            await publish(adapter, healthy, range(published + 500, published + 1000))
            await group.until_handled(range(published + 1000))
            counts = [one.id for one in group.handled if one.id.isdigit()]
            assert len(counts) == len(set(counts)) == published + 1000
            assert published >= SECONDS * RATE * 0.9
            unreadable = [one for one in caplog.records if "nothing behind it is handled" in one.getMessage()]
            assert unreadable, "how many there are in this time depends on the machine"
    finally:
        server.stop()


async def infect(sickness: Sickness) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number, infection in enumerate(itertools.cycle(sickness.kinds)):
        sickness.at = number % PARTITIONS
        async with asyncio.timeout(DEADLINE):
            await infection()
        due = begun + (number + 1) * SECONDS / PARTITIONS
        if due >= begun + SECONDS or loop.time() >= begun + SECONDS:
            return
        await asyncio.sleep(due - loop.time())


async def steadily(adapter: KafkaAdapter, queue: Address) -> int:
    """Publish at the rate for as long as it takes; how many."""
    loop = asyncio.get_running_loop()
    begun, published = loop.time(), 0
    publishing: set[asyncio.Task[None]] = set()
    while (now := loop.time()) < begun + SECONDS:
        while published < (now - begun) * RATE:
            some = range(published, published + GRAIN)
            task = asyncio.create_task(publish(adapter, queue, some))
            publishing.add(task)
            published += GRAIN
        await asyncio.sleep(0.01)
    await asyncio.gather(*publishing)
    return published
