"""The health check over a scripted server."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from msgbus.broker import Broker
from msgbus.errors import BrokerUnavailable
from tests.support.scripted_adapter import ScriptedAdapter, ScriptedConsumer


class Asked(ScriptedAdapter):
    """Answers when it is told to, and does not mind being cancelled."""

    def __init__(self, answer: str | Exception = "") -> None:
        super().__init__()
        self.answer = answer
        self.go_on = asyncio.Event()
        self.pings = 0

    async def ping(self) -> str:
        self.pings += 1
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                continue
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def callback(message: object) -> None:
    del message


async def test_an_answer_that_does_not_come_ends_with_its_time_and_is_asked_for_once() -> None:
    adapter = Asked()
    broker = Broker(adapter)
    began = asyncio.get_running_loop().time()
    several = await asyncio.gather(*(broker.health(within=0.05) for _ in range(5)))
    assert asyncio.get_running_loop().time() - began < 0.5
    assert {one.reasons for one in several} == {("the server did not answer within 0.05 s",)}
    adapter.go_on.set()
    assert (await broker.health()).ready
    assert adapter.pings == 1, "the answer that was under way is the answer"
    assert (await broker.health()).ready
    assert adapter.pings == 2
    await broker.close()


async def test_whatever_an_adapter_raises_is_told_and_not_raised() -> None:
    for error, words in ((BrokerUnavailable("gone"), "gone"), (KeyError("a bug"), "KeyError: 'a bug'")):
        adapter = Asked(error)
        adapter.go_on.set()
        broker = Broker(adapter)
        health = await broker.health()
        assert (health.ready, health.connected, health.reasons) == (False, False, (words,))
        await broker.close()


async def test_a_server_that_answers_and_takes_nothing_is_connected_and_not_ready() -> None:
    adapter = Asked("it is full")
    adapter.go_on.set()
    async with Broker(adapter) as broker:
        health = await broker.health()
    assert (health.ready, health.connected, health.reasons) == (False, True, ("it is full",))


async def test_since_is_the_time_of_the_change_by_the_brokers_own_clock() -> None:
    now = 1000.0
    adapter = Asked()
    adapter.go_on.set()
    async with Broker(adapter, clock=lambda: now) as broker:
        first = await broker.health()
        now += 60
        assert (await broker.health()).since == first.since
        adapter.answer = "it is full"
        full = await broker.health()
    assert (full.since - first.since).total_seconds() == 60


async def test_a_consumer_that_knows_why_it_gets_nothing_is_heard() -> None:
    adapter = ScriptedAdapter()
    async with Broker(adapter, group="g") as broker:
        subscription = await broker.consume("q", callback)
        await subscription.ready()
        assert (await broker.health()).ready
        cast("Any", adapter.consumers[0]).problem = lambda _: "nobody leads"
        health = await broker.health()
        assert (health.ready, health.queues[0].state) == (False, "active")
        assert health.reasons == ("queue q, group g: active: nobody leads",)


def test_an_adapter_and_a_consumer_that_know_nothing_say_nothing() -> None:
    assert "trouble" not in vars(ScriptedConsumer)
    assert "ping" not in vars(ScriptedAdapter)
