"""Compact queues: what a tombstone removes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.publishing.publication import Publication
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import Probe, within
from tests.support.servers.fixtures import or_skip
from tests.support.servers.native import NativeServer, start_native

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPACTED_SOON = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
}


@pytest.fixture(scope="module")
def server() -> Iterator[NativeServer]:
    server = or_skip(lambda: start_native("kafka"))
    yield server
    server.stop()


async def test_a_tombstone_removes_the_earlier_messages_of_its_key_for_groups_that_come_later(
    server: NativeServer,
) -> None:
    async with Harness(server.url) as harness, within(120, "the log being compacted"):
        broker, queue = await harness.broker(), harness.name("state")
        await broker.create_queue(queue, groups=["g"], partitions=1, compact=True, native=COMPACTED_SOON)
        await publish_all(broker, queue, [Publication({"n": n}, key=key) for n in range(5) for key in ("gone", "kept")])
        await broker.publish(queue, None, key="gone")
        for turn in range(1000):
            await broker.publish(queue, b"x", key=f"filler-{turn % 3}")  # the newest segment is never cleaned
            state = await _state_for_a_new_group(harness, queue, f"late{turn}")
            if state["gone"] == [b""]:
                break
            await asyncio.sleep(2)  # between two looks of the cleaner; a new group costs more
        assert state["kept"] == [b'{"n":4}']


async def _state_for_a_new_group(harness: Harness, queue: str, group: str) -> dict[str, list[bytes]]:
    """Return the bodies of each key that a new group gets."""
    probe = Probe()
    broker = await harness.broker(group)
    await broker.consume(queue, probe)
    await harness.fence(broker, queue, probe)
    await broker.close()
    found: dict[str, list[bytes]] = {"gone": [], "kept": []}
    for message in probe.handled:
        if message.key in found:
            found[message.key].append(message.body)
            assert message.is_tombstone == (not message.body)
    return found
