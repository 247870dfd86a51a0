"""Members that are killed by SIGKILL, and frozen for longer than their session, under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter.url import BrokerURL
from msgbus.errors import BrokerError
from msgbus.testing import Harness
from msgbus.testing.probe import within
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.admin.groups import committed_offsets
from tests.support.ledger import Ledger, Load
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.support.servers.server import Server

ROUNDS = int(os.environ.get("MSGBUS_TEST_ROUNDS", "2"))
"""Members killed; a third as many are frozen. 30 by MSGBUS_TEST_ROUNDS=30."""
SESSION = 2.0
"""Seconds; Kafka's default of 45 would only make the test long."""
RATE = 300.0
REPEATED = 250
"""Messages that a fault may repeat: what one member has in hand, and what it finished in 0.2 s."""
PARTITIONS = 6


class Process:
    """A member, what it handled and how many of its commits were refused."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.refused = 0

    async def start(self, url: str, queue: str) -> None:
        """Returns when it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.processes.kafka_member", f"{url}?session_timeout={SESSION}", queue),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # the client has a lot to say about what is done to it
        )
        self._reading = asyncio.ensure_future(self._read(self._process.stdout))
        async with within(60, "a member's process being ready"):
            await self._ready.wait()

    async def _read(self, output: Any) -> None:
        async for line in output:
            word = line.decode().strip()
            if word == "ready":
                self._ready.set()
            elif word == "!":
                self.refused += 1
            elif not word.startswith("fence"):
                key, _, number = word.rpartition("-")
                self._ledger.handled(key, int(number), self)

    def signal(self, number: signal.Signals) -> None:
        """Send it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> None:
        """Kill it, and hear the rest of what it has said."""
        if self._process is not None and self._reading is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._reading
            await self._process.wait()


async def watch_commits(adapter: KafkaAdapter, queue: str, seen: dict[int, int], backwards: list[str]) -> None:
    """A commit that moves back is a zombie's that was accepted."""
    while True:
        with contextlib.suppress(BrokerError):
            for partition, offset in (await committed_offsets(adapter._cluster, queue, range(PARTITIONS), "g")).items():
                if offset < seen.get(partition, 0):
                    backwards.append(f"{partition}: from {seen[partition]} to {offset}")
                seen[partition] = offset
        await asyncio.sleep(0.05)


@pytest.mark.timeout(1800)
async def test_killed_and_frozen_members_lose_nothing_and_repeat_what_was_in_flight(kafka_server: Server) -> None:
    ledger, backwards = Ledger(), list[str]()
    async with Harness(kafka_server.url) as harness, AsyncExitStack() as stack:
        queue = await harness.queue("g", partitions=PARTITIONS)
        publisher = await harness.broker("p")

        async def member() -> Process:
            process = Process(ledger)
            stack.push_async_callback(process.end)
            await process.start(kafka_server.url, queue)
            return process

        members = list(await asyncio.gather(member(), member(), member()))
        adapter = KafkaAdapter(BrokerURL.parse(kafka_server.url), KafkaOptions())
        stack.push_async_callback(adapter.close)
        watching = asyncio.ensure_future(watch_commits(adapter, queue, {}, backwards))
        load = Load(publisher, queue, RATE)
        await ledger.until_more(300)
        for _ in range(ROUNDS):
            victim = members.pop(random.randrange(len(members)))
            victim.signal(signal.SIGKILL)
            await ledger.until_all(set(load.confirmed))
            await victim.end()
            members.append(await member())
            await ledger.until_more(100)
        by_kills = ledger.repeated
        frozen = max(1, ROUNDS // 3)
        for _ in range(frozen):
            victim = random.choice(members)
            victim.signal(signal.SIGSTOP)
            await ledger.until_all(set(load.confirmed))  # the others have taken over
            victim.signal(signal.SIGCONT)
            before = ledger.by[victim]
            await ledger.until(lambda: ledger.by[victim] > before + 100)  # noqa: B023 - awaited here
        await load.stop()
        await ledger.until_all(load.confirmed)
        watching.cancel()
        refused = sum(one.refused for one in members)
    by_freezes = ledger.repeated - by_kills
    print(  # noqa: T201 - the figures, with -s
        f"\n{len(load.confirmed)} messages: {ROUNDS} kills repeated {by_kills}, {frozen} freezes {by_freezes}; "
        f"{refused} late commits refused, {len(backwards)} accepted"
    )
    assert not load.refused
    assert backwards == []
    assert by_kills <= REPEATED * ROUNDS
    assert by_freezes <= REPEATED * frozen
