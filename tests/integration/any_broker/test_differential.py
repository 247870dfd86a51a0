"""Differential test: a script of failures drawn by a seed ends alike on memory and on each real broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING

import pytest

from msgbus.publishing.publication import Publication
from msgbus.retry import Backoff, Reject, RetryPolicy
from msgbus.testing.harness import Harness, dead_letters_of, publish_all
from msgbus.testing.probe import DEADLINE_SECONDS, within
from msgbus.testing.verification import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.message import Message
    from msgbus.testing.verification import Event
    from tests.support.servers.server import Server

MESSAGES = 60
POLICY = RetryPolicy(immediate=1, backoff=Backoff(first=0.01, most=0.01), delays=(1.0,), pause_after=None)
CALLS = 4
"""Two at once, two after a second."""


class Script:
    """What each call for each message does; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self._failures = {f"m{n}": random.choice((0, 0, 0, 1, 2, 3, CALLS)) for n in range(MESSAGES)}
        self._rejected = {id: random.random() < 0.2 for id in self._failures}
        self.messages = [
            Publication(f"body {id}", message_id=id, key=random.choice((None, "a", "b"))) for id in self._failures
        ]

    async def __call__(self, message: Message) -> None:
        if message.attempt > self._failures[message.id]:
            return
        if self._rejected[message.id]:
            raise Reject("not this one")
        raise LookupError(f"attempt {message.attempt}")


async def story(url: str, seed: int) -> Mapping[str, Sequence[object]]:
    """What became of each message: its calls and copies in their order, and its letter."""
    script = Script(seed)
    async with Harness(url) as harness:
        queue = await harness.queue("g")
        broker = await harness.broker()
        await (await broker.consume(queue, script, retry=POLICY)).ready()
        await publish_all(broker, queue, script.messages)
        async with within(DEADLINE_SECONDS, "every message being handled or dead"):
            while len(_ended(harness.events)) < MESSAGES:
                await asyncio.sleep(0.02)
        letters = await dead_letters_of(broker, queue)
        await broker.close()
        harness.judge()
        return _told(harness.events) | {
            f"letter of {one.message.id}": [one.reason, one.attempts, one.message.key, one.message.body]
            for one in letters
        }


def _ended(events: Sequence[Event]) -> set[str]:
    return {event.id for event in events if event.kind in {Kind.RETURNED, Kind.DEAD_LETTERED}}


def _told(events: Sequence[Event]) -> dict[str, Sequence[object]]:
    told: dict[str, list[object]] = defaultdict(list)
    for event in events:
        if event.kind in {Kind.CALLED, Kind.RETURNED, Kind.RAISED, Kind.RETRIED, Kind.DEAD_LETTERED}:
            told[event.id].append((event.kind, event.part, event.attempt, event.key, event.detail))
    return dict(told)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq", "kafka"])
async def test_a_script_of_failures_ends_as_on_memory(broker: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{broker}_server")
    on_memory = await story("memory://", 1)
    assert sum(name.startswith("letter") for name in on_memory) > 10
    assert await story(server.url, 1) == on_memory
