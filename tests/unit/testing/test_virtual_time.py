"""Time that jumps over waiting."""

from __future__ import annotations

import asyncio
import threading
from asyncio import BaseEventLoop
from contextlib import closing

import pytest

from msgbus.testing.virtual_time import leaping_time


async def test_virtual_time_waits_for_a_thread() -> None:
    loop = asyncio.get_running_loop()
    go = threading.Event()
    with leaping_time(loop):
        waiting = asyncio.ensure_future(asyncio.to_thread(go.wait))
        await asyncio.sleep(0)
        late = loop.call_later(3600.0, lambda: None)
        loop.call_soon(go.set)
        assert await waiting
        assert loop.time() < late.when()
        await asyncio.sleep(3600.0)
    assert loop.time() >= late.when()


async def test_time_goes_on_from_where_it_has_leapt_to() -> None:
    loop = asyncio.get_running_loop()
    with leaping_time(loop):
        await asyncio.sleep(3600.0)
        before = loop.time()
    assert loop.time() >= before


def test_virtual_time_is_refused_where_a_loop_has_no_selector() -> None:
    with (
        closing(BaseEventLoop()) as loop,
        pytest.raises(RuntimeError, match="asyncio's own event loops, not BaseEventLoop"),
        leaping_time(loop),
    ):
        pass
