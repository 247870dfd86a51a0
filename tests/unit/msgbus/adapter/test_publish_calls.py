"""Publish calls: each ends by its own deadline, with one timer for all."""

from __future__ import annotations

import asyncio

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.publish_calls import CallTimeouts, PendingMessage, PublishCall, late_result
from msgbus.errors import BrokerError, BrokerUnavailable, PublishUnknown

MESSAGE = Outgoing(Address("q"), "1", 0, b"", None, {})


def _settle(call: PublishCall, place: int, verdict: BrokerError | None) -> None:
    PendingMessage(call, place, MESSAGE).complete(verdict)


def _late(item: PendingMessage) -> BrokerError:
    return BrokerUnavailable(f"{item.message.id} is late")


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_call_is_settled_with_its_last_message() -> None:
    waiting, call = CallTimeouts(), PublishCall(2, _now() + 5)
    refusal = BrokerUnavailable("no")
    settled = asyncio.ensure_future(waiting.wait(call, call.end))
    await asyncio.sleep(0)
    _settle(call, 1, refusal)
    _settle(call, 0, None)
    assert await settled
    assert call.results == [None, refusal]


async def test_each_call_ends_by_its_own_time() -> None:
    waiting, started = CallTimeouts(), _now()
    seconds = [0.15, 0.05, 0.1, 30.0]
    calls = [PublishCall(1, started + each) for each in seconds]
    over: list[float] = []

    async def one(call: PublishCall) -> None:
        assert await waiting.wait(call, call.end) == (call is calls[3])
        waiting.forget(call)
        over.append(call.end - started)

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))
        async with asyncio.timeout(5):
            while len(over) < 3:
                await asyncio.sleep(0.01)
        _settle(calls[3], 0, None)
    assert [round(each, 2) for each in over] == [0.05, 0.1, 0.15, 30.0]
    assert not waiting._calls


async def test_a_call_can_be_waited_for_again() -> None:
    waiting, call = CallTimeouts(), PublishCall(1, _now() + 5)
    assert not await waiting.wait(call, _now() + 0.01)
    _settle(call, 0, None)
    assert await waiting.wait(call, call.end)


async def test_a_cancelled_caller_leaves_nothing_behind() -> None:
    waiting = CallTimeouts()
    cancelled, other = PublishCall(1, _now() + 0.05), PublishCall(1, _now() + 5)
    both = [asyncio.ensure_future(waiting.collect_results(call, [], _late)) for call in (cancelled, other)]
    await asyncio.sleep(0)
    both[0].cancel()
    await asyncio.wait({both[0]})
    assert list(waiting._calls) == [other]
    _settle(cancelled, 0, None)
    _settle(other, 0, None)
    assert await both[1] == [None]
    assert not waiting._calls


async def test_one_timer_serves_call_after_call_and_each_still_ends_by_its_own_time() -> None:
    waiting = CallTimeouts()
    timers = set()
    for _ in range(10):
        call = PublishCall(1, _now() + 30)
        asyncio.get_running_loop().call_soon(_settle, call, 0, None)
        assert await waiting.wait(call, call.end)
        timers.add(waiting._timer)
    assert len(timers) == 1
    for seconds in (0.02, 0.01):
        call = PublishCall(1, _now() + seconds)
        async with asyncio.timeout(5):
            assert not await waiting.wait(call, call.end)


def test_calls_of_another_event_loop_are_timed_by_it() -> None:
    waiting = CallTimeouts()

    async def ends(seconds: float, *, settled: bool) -> None:
        call = PublishCall(1, _now() + seconds)
        if settled:
            asyncio.get_running_loop().call_soon(_settle, call, 0, None)
        async with asyncio.timeout(5):
            assert await waiting.wait(call, call.end) == settled

    asyncio.run(ends(0.1, settled=True))
    asyncio.run(ends(0.2, settled=False))


async def test_a_verdict_after_the_end_changes_nothing() -> None:
    call = PublishCall(1, _now())
    call.over = True
    _settle(call, 0, BrokerUnavailable("late"))
    assert call.results == [None]


async def test_a_late_message_is_unknown_only_if_it_was_sent() -> None:
    item = PendingMessage(PublishCall(1, _now()), 0, MESSAGE)
    unsent = late_result(item, "server h:1", 2.0)
    assert isinstance(unsent, BrokerUnavailable)
    assert str(unsent) == "server h:1: queue q: not sent within 2 s"
    item.sent = True
    sent = late_result(item, "server h:1", 2.0)
    assert isinstance(sent, PublishUnknown)
    assert "message 1 was not confirmed within 2 s; it may have arrived" in str(sent)
