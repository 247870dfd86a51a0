"""Bounded waits: many blocks with one timer, an event that may not come, tasks that may not end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from msgbus.adapter.timeouts import ReusableTimeout, cancel_and_wait, wait_for_event


async def test_a_block_that_takes_longer_raises_and_its_task_goes_on() -> None:
    limit = ReusableTimeout()
    with pytest.raises(TimeoutError), limit.within(0.01):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with limit.within(5.0):
        await asyncio.sleep(0)


async def test_a_block_after_others_has_its_own_time_whether_less_or_more() -> None:
    limit, loop = ReusableTimeout(), asyncio.get_running_loop()
    for seconds in (5.0, 0.02, 0.3, 0.1):
        with limit.within(seconds):
            await asyncio.sleep(0)
    began = loop.time()
    with limit.within(0.5):
        await asyncio.sleep(0.15)  # longer than the timers of before
    with pytest.raises(TimeoutError), limit.within(0.1):
        await asyncio.Event().wait()
    assert 0.25 <= loop.time() - began < 4, "by the timer of a block before"


async def test_a_thousand_blocks_make_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, loop, made = ReusableTimeout(), asyncio.get_running_loop(), 0
    call_at = loop.call_at

    def counted(*arguments: object) -> asyncio.TimerHandle:
        nonlocal made
        made += 1
        return call_at(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_at", counted)
    for _ in range(1000):
        with limit.within(5.0):
            pass
    assert made == 1


async def test_a_cancelled_task_is_cancelled_and_no_block_of_another_task_is_touched() -> None:
    limit = ReusableTimeout()

    async def for_ever() -> None:
        with limit.within(0.05):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(for_ever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)  # its time is over, and nobody is in the block
    with limit.within(5.0):
        await asyncio.sleep(0)


def test_it_may_be_used_in_one_event_loop_after_another() -> None:
    limit = ReusableTimeout()

    async def once(seconds: float) -> None:
        with limit.within(seconds):
            await asyncio.sleep(0.05 if seconds > 1 else 60)

    asyncio.run(once(5.0))
    with pytest.raises(TimeoutError):
        asyncio.run(once(0.05))
    asyncio.run(once(5.0))


async def test_an_event_that_is_set_in_time_is_told_from_one_that_is_not() -> None:
    event = asyncio.Event()
    assert not await wait_for_event(0.01, event)
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await wait_for_event(5, event)
    assert await wait_for_event(0, event)


async def test_tasks_have_ended_when_cancelling_returns() -> None:
    forever = asyncio.Event()
    tasks = [asyncio.ensure_future(forever.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    await cancel_and_wait(*tasks, None)
    assert all(task.cancelled() for task in tasks)
    await cancel_and_wait(*tasks)
    await cancel_and_wait()


async def test_a_task_that_does_not_end_is_waited_for_no_longer_than_the_timeout() -> None:
    done = asyncio.Event()

    async def stubborn() -> None:
        while not done.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await done.wait()

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait(task, timeout=0.01)
    assert not task.done()
    done.set()
    await cancel_and_wait(task, timeout=None)
    assert task.done()
