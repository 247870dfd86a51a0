"""The state of a subscription."""

from __future__ import annotations

from msgbus.broker import Broker
from tests.support.scripted_adapter import ScriptedAdapter


async def callback(message: object) -> None:
    del message


async def test_a_pause_outlives_the_loss_of_the_consumer() -> None:
    adapter = ScriptedAdapter()
    async with Broker(adapter, group="g") as broker:
        subscription = await broker.consume("q", callback)
        await subscription.ready()
        subscription.set_paused("the till is off")
        subscription.mark_waiting()
        subscription.mark_active()
        assert (subscription.state, subscription.reason) == ("paused", "the till is off")
        subscription.set_paused("")
        assert (subscription.state, subscription.reason) == ("active", "")
