"""500 messages a second to a healthy queue, beside one of the same group that gets every kind of unreadable record.

MSGBUS_TEST_SECONDS is how long: 10 as a rule, 600 in the long form.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
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
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_kafka import KafkaAdapter
    from tests.support.servers.native import NativeServer

SECONDS = float(os.environ.get("MSGBUS_TEST_SECONDS", "10"))
RATE, GRAIN, PARTITIONS = 500, 5, 60


class Sickness:
    """Puts into a queue what cannot be read, in one partition after the other."""

    def __init__(
        self,
        server: NativeServer,
        adapter: KafkaAdapter,
        queue: Address,
        group: Group,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self._server = server
        self._adapter = adapter
        self._queue = queue
        self._group = group
        self._caplog = caplog
        self._compressed = batch([b"z"] * 3, codec=ZSTD)
        self.at = 0
        self.first: dict[str, int] = {}
        """The partition of each kind's first record."""

    async def codec(self) -> None:
        await put(self._adapter, self._queue, self._compressed, self.at)

    async def header(self) -> None:
        await put(self._adapter, self._queue, batch([b"h"] * 3, latin=True), self.at)

    async def checksum(self) -> None:
        body = b"broken-%d-body" % self.at
        async with self._unfetched():
            with self._server.folder.glob(f"**/{self._queue}-{self.at}/*.log").__next__().open("r+b") as file:
                await put(self._adapter, self._queue, batch([b"one", body, b"three"]), self.at)
                place = file.read().rindex(body)
                file.seek(place)
                file.write(body.swapcase())

    async def right(self) -> None:
        async with self._unfetched():
            await put(self._adapter, self._queue, batch([b"r"]), self.at)

    async def transactions(self) -> None:
        async with transactional(self._server.url, f"t-{self._queue}") as producer:
            for end in (producer.abort_transaction, producer.commit_transaction):
                await producer.begin_transaction()
                await producer.send_and_wait(str(self._queue), b"t", partition=self.at)
                await end()

    async def retention(self) -> None:
        read = await put(self._adapter, self._queue, batch([b"read"]), self.at)  # what was lost is what comes after it
        await self._group.until_handled([f"{self._queue}-{self.at}@{read}"])
        async with self._unfetched():
            first = await put(self._adapter, self._queue, batch([b"gone"] * 5), self.at)
            await delete_before(self._adapter, self._queue, first + 3, self.at)

    @asynccontextmanager
    async def _unfetched(self) -> AsyncIterator[None]:
        """What is put meanwhile is fetched afterwards only: the members have no right to read, and know it."""
        while self._is_refused():  # from the last time: it would not be told again
            await asyncio.sleep(0.02)
        with read_refused(self._server.url, self._queue):
            while not self._is_refused():
                await asyncio.sleep(0.02)
            yield

    def _is_refused(self) -> bool:
        ended = self._said(self.at, "the broker gives its records again")
        return len(self._said(self.at, "the right to read it is missing")) > len(ended)

    def _said(self, partition: int, text: str) -> list[str]:
        told = [one.getMessage() for one in self._caplog.records if one.levelno >= logging.WARNING]
        return [one for one in told if f"{self._queue}" in one and f"partition {partition}:" in one and text in one]

    def unmet(self) -> set[str]:
        """The kinds whose first records no member has met yet."""
        handled = {one.id for one in self._group.handled}

        def was_handled(offset: int) -> Callable[[int], bool]:
            return lambda partition: f"{self._queue}-{partition}@{offset}" in handled

        def was_said(text: str) -> Callable[[int], bool]:
            return lambda partition: bool(self._said(partition, text))

        signs = {
            "codec": was_said("is compressed with a codec that is not installed"),
            "header": was_handled(2),
            "checksum": was_said("is corrupt on the server"),
            "right": was_handled(0),  # after it was refused: see _unfetched()
            "transactions": was_handled(2),  # behind a record that was taken back, and its marker
            "retention": was_said("3 records were deleted by retention"),
        }
        assert {kind.__name__ for kind in self.kinds} == signs.keys()
        return {kind for kind, met in signs.items() if kind not in self.first or not met(self.first[kind])}

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
            group = Group(adapter, stack)
            sickness = Sickness(server, adapter, sick, group, caplog)
            monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
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
            end = asyncio.get_running_loop().time() + DEADLINE
            while unmet := sickness.unmet():
                assert asyncio.get_running_loop().time() < end, f"nobody has met {unmet}"
                await asyncio.sleep(0.1)
    finally:
        server.stop()


async def infect(sickness: Sickness) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number, infection in enumerate(itertools.cycle(sickness.kinds)):
        sickness.at = number % PARTITIONS
        sickness.first.setdefault(infection.__name__, sickness.at)
        async with asyncio.timeout(DEADLINE):
            await infection()
        due = begun + (number + 1) * SECONDS / PARTITIONS
        if max(due, loop.time()) >= begun + SECONDS and len(sickness.first) == len(sickness.kinds):
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
