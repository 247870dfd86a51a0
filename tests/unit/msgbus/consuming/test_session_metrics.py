"""Session metrics: counted and logged."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.broker import Broker
from msgbus.consuming.session_metrics import SessionCounts
from msgbus.testing.probe import Probe
from tests.support.scripted_adapter import ScriptedAdapter, delivery

if TYPE_CHECKING:
    import pytest


async def test_a_drain_counts_what_it_finished(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "msgbus.sessions")
    adapter, probe = ScriptedAdapter(), Probe()
    probe.hold()
    async with Broker(adapter, group="g") as broker:
        await (await broker.consume("q", probe, concurrency=2)).ready()
        consumer = adapter.consumers[0]
        consumer.give(*(delivery("s", n, str(n), str(n)) for n in range(4)))
        await probe.until_entered(2)
        ending = asyncio.ensure_future(consumer.listener.ending(["s"], 10))
        await asyncio.sleep(0)
        await probe.release()
        await ending
        assert broker.session_counts() == SessionCounts(assigned=1, revoked=1, drained=2)
    assert caplog.messages == [
        "group g: 1 sessions assigned, 1 in all",
        "group g: 1 sessions revoked: 2 messages drained, 0 abandoned",
    ]


async def test_a_lost_session_counts_what_was_in_hand_and_calls_that_end_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter, probe = ScriptedAdapter(), Probe()
    probe.hold()
    async with Broker(adapter, group="g") as broker:
        subscription = await broker.consume("q", probe)
        await subscription.ready()
        consumer = adapter.consumers[0]
        consumer.give(*(delivery("s", n, str(n), str(n)) for n in range(3)))
        await probe.until_entered(3)
        consumer.listener.lost(["s"])
        consumer.listener.lost(["s"])
        await probe.release()
        await probe.until_handled("012")
    assert broker.session_counts() == SessionCounts(assigned=1, lost=1, fenced=3)
    assert subscription.counts.fenced == 3
    assert subscription.counts.handled == 0
    assert consumer.acknowledged == []
    assert "group g: 1 sessions lost, 3 messages in flight: other members get them" in caplog.messages
