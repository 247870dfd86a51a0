"""Bounded waits: an event that may not come, and tasks that may not end."""

from __future__ import annotations

import asyncio
import contextlib

from msgbus.adapter.timeouts import cancel_and_wait, wait_for_event


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
