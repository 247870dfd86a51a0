"""Connecting, and the end of calls when the broker is closed, over a scripted server."""

from __future__ import annotations

import asyncio

import pytest

from msgbus.broker import Broker
from msgbus.connection import CALL_CANCEL_TIMEOUT_SECONDS
from msgbus.errors import (
    AccessRefused,
    BrokerClosed,
    BrokerUnavailable,
)
from msgbus.testing.probe import Probe, within
from tests.support.scripted_adapter import ScriptedAdapter


async def test_connecting_is_tried_again_and_shared_by_all_who_ask() -> None:
    adapter = ScriptedAdapter()
    adapter.connect_errors.extend([BrokerUnavailable("down"), BrokerUnavailable("down")])
    broker = Broker(adapter)
    await asyncio.gather(*(broker.publish("q", b"") for _ in range(20)))
    assert adapter.connected == 1
    assert len(adapter.published) == 20


async def test_a_refused_login_ends_at_once_and_a_later_call_may_succeed() -> None:
    adapter = ScriptedAdapter()
    adapter.connect_errors.append(AccessRefused("wrong password"))
    broker = Broker(adapter)
    results = await asyncio.gather(*(broker.publish("q", b"") for _ in range(5)), return_exceptions=True)
    assert {type(one) for one in results} == {AccessRefused}
    await broker.publish("q", b"")


async def test_closing_while_connecting_ends_those_who_wait() -> None:
    adapter = ScriptedAdapter()
    adapter.connect_errors.extend([BrokerUnavailable("down")] * 1000)
    broker = Broker(adapter)
    publishing = asyncio.ensure_future(broker.publish("q", b""))
    await asyncio.sleep(0)
    await broker.close()
    with pytest.raises(BrokerClosed):
        await publishing


async def test_a_server_that_never_answers_ends_at_the_deadline() -> None:
    adapter = ScriptedAdapter()
    adapter.connect = asyncio.Event().wait  # type: ignore[method-assign, assignment]  # for ever
    with pytest.raises(BrokerUnavailable, match="no answer"):
        await Broker(adapter, deadline=0.2).publish("q", b"")


async def test_a_start_that_failed_can_be_tried_again() -> None:
    adapter = ScriptedAdapter()
    adapter.connect_errors.append(AccessRefused("wrong password"))
    broker = Broker(adapter)
    with pytest.raises(AccessRefused):
        async with broker:
            pass
    async with broker:
        await broker.publish("q", b"")


@pytest.mark.parametrize("turns", range(1, 12))
async def test_whatever_the_end_of_the_broker_finds_beginning_asks_nothing_of_what_was_let_go(turns: int) -> None:
    adapter = ScriptedAdapter()
    broker = Broker(adapter, group="g", grace=0)
    await broker.consume("q", Probe())
    beginning = [
        asyncio.ensure_future(one)
        for one in (broker.__aenter__(), broker.publish("q", b""), broker.create_queue("q"), broker.lag("q", group="g"))
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    await broker.close()
    asked = list(adapter.asked)
    results = await asyncio.gather(*beginning, return_exceptions=True)
    assert all(isinstance(one, BrokerClosed) for one in results if isinstance(one, BaseException))
    assert all(consumer.closed for consumer in adapter.consumers)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("msgbus")]
    assert adapter.asked == asked


async def _never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_call_without_an_answer_is_given_up_at_the_end_of_the_broker() -> None:
    adapter = ScriptedAdapter()
    adapter.create_queues = _never  # type: ignore[method-assign, assignment]
    adapter.diagnose = _never  # type: ignore[method-assign, assignment]
    broker = Broker(adapter, grace=0)
    await broker.lag("q", group="g")
    creating, examining = asyncio.ensure_future(broker.create_queue("q")), asyncio.ensure_future(broker.diagnose())
    await asyncio.sleep(0)
    async with within(CALL_CANCEL_TIMEOUT_SECONDS / 2, "closing"):
        await broker.close()
    for one in (creating, examining):
        with pytest.raises(BrokerClosed, match="before the server answered"):
            await one
