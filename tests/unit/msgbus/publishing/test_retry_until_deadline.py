"""Publishing until a deadline, over a scripted server."""

from __future__ import annotations

import asyncio

import pytest

from msgbus.broker import Broker
from msgbus.errors import (
    BrokerUnavailable,
    PublishUnknown,
    QueueNotFound,
)
from tests.support.scripted_adapter import ScriptedAdapter


async def test_what_the_server_refused_for_now_is_repeated_alone_and_with_its_id() -> None:
    adapter = ScriptedAdapter()
    adapter.script.append([None, BrokerUnavailable("later"), None])
    broker = Broker(adapter)
    assert await broker.publish_many("q", [b"1", b"2", b"3"]) == [None, None, None]
    assert adapter.published[1] == [adapter.published[0][1]]


async def test_a_definite_refusal_is_not_repeated() -> None:
    adapter = ScriptedAdapter()
    adapter.script.append([QueueNotFound("no q")])
    with pytest.raises(QueueNotFound):
        await Broker(adapter).publish("q", b"")
    assert len(adapter.published) == 1


async def test_an_unknown_outcome_is_not_repeated() -> None:
    adapter = ScriptedAdapter()
    adapter.script.append([PublishUnknown("perhaps")])
    with pytest.raises(PublishUnknown):
        await Broker(adapter).publish("q", b"")
    assert len(adapter.published) == 1


async def test_at_the_deadline_it_is_unavailable_or_unknown_as_the_tries_were() -> None:
    adapter = ScriptedAdapter()
    adapter.script.extend([[BrokerUnavailable("cut", uncertain=True), BrokerUnavailable("down")]])
    adapter.script.extend([[BrokerUnavailable("down"), BrokerUnavailable("down")]] * 100)
    verdicts = await Broker(adapter, deadline=0.3).publish_many("q", [b"1", b"2"])
    assert [type(verdict) for verdict in verdicts] == [PublishUnknown, BrokerUnavailable]
    assert all("queue q" in str(verdict) for verdict in verdicts)
    assert len(adapter.published) > 1


async def test_a_publish_that_the_end_of_the_broker_finds_trying_is_not_tried_again() -> None:
    adapter = ScriptedAdapter()
    adapter.script.extend([BrokerUnavailable("gone", uncertain=True)] for _ in range(100))
    broker = Broker(adapter, grace=0)
    publishing = asyncio.ensure_future(broker.publish("q", b""))
    await adapter.asked_to_publish.wait()
    await broker.close()
    tried = len(adapter.published)
    with pytest.raises(PublishUnknown):
        await publishing
    assert len(adapter.published) == tried
