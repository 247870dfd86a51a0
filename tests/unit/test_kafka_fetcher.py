"""What aiokafka's fetcher does differently."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from msgbus_kafka.fetcher import IDLE, adapt


class Fetcher:
    """The part of aiokafka's that is looked at: a task for each request, and who waits for its end."""

    def __init__(self, *, finds: bool) -> None:
        self._in_flight = {"node"}
        self._client = SimpleNamespace(send=None)
        self._records: dict[str, object] = {}
        self.waited: list[int] = []
        self._wait_consume_future: Any = asyncio.get_running_loop().create_future()
        self.finds = finds

    async def _proc_fetch_request(self, assignment: Any, node: Any, request: Any) -> bool:
        assert (assignment, node) == ("assignment", "node")
        self.waited.append(request._max_wait_ms)
        return self.finds

    def request(self) -> asyncio.Task[bool]:
        request = SimpleNamespace(_max_wait_ms=100)
        return asyncio.get_running_loop().create_task(self._proc_fetch_request("assignment", "node", request))


async def test_records_are_taken_before_their_request_has_ended_and_nobody_else_is_woken_by_it() -> None:
    fetcher, arrived = Fetcher(finds=True), asyncio.Event()
    adapt(SimpleNamespace(_fetcher=fetcher), arrived)
    request = fetcher.request()
    await arrived.wait()
    assert not request.done()
    assert fetcher._wait_consume_future is None
    assert await request


async def test_with_the_end_of_its_request_a_node_is_free_for_the_next() -> None:
    for finds in (True, False):
        fetcher, arrived = Fetcher(finds=finds), asyncio.Event()
        adapt(SimpleNamespace(_fetcher=fetcher), arrived)
        request = fetcher.request()
        while not request.done():
            assert "node" in fetcher._in_flight
            await asyncio.sleep(0)
        assert not fetcher._in_flight
        assert arrived.is_set() is finds


async def test_a_node_that_had_nothing_keeps_the_next_request_for_longer_unless_records_wait_here() -> None:
    fetcher = Fetcher(finds=False)
    adapt(SimpleNamespace(_fetcher=fetcher), asyncio.Event())
    await fetcher.request()
    await fetcher.request()
    fetcher._records = {"another partition": "its records"}
    await fetcher.request()
    fetcher._records = {}
    fetcher.finds = True
    await fetcher.request()
    await fetcher.request()
    assert fetcher.waited == [100, IDLE, 100, IDLE, 100]
