"""Being told of what aiokafka has fetched, before it goes on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from msgbus_kafka.arrivals import tell


class Fetcher:
    """The part of aiokafka's that is looked at: a task for each request, and who waits for its end."""

    def __init__(self, *, finds: bool) -> None:
        self._in_flight = {"node"}
        self._wait_consume_future: Any = asyncio.get_running_loop().create_future()
        self._finds = finds

    async def _proc_fetch_request(self, assignment: Any, node: Any, request: Any) -> bool:
        assert (assignment, node, request) == ("assignment", "node", "request")
        return self._finds

    def request(self) -> asyncio.Task[bool]:
        return asyncio.get_running_loop().create_task(self._proc_fetch_request("assignment", "node", "request"))


async def test_records_are_taken_before_their_request_has_ended_and_nobody_else_is_woken_by_it() -> None:
    fetcher, arrived = Fetcher(finds=True), asyncio.Event()
    tell(SimpleNamespace(_fetcher=fetcher), arrived)
    request = fetcher.request()
    await arrived.wait()
    assert not request.done()
    assert fetcher._wait_consume_future is None
    assert await request


async def test_with_the_end_of_its_request_a_node_is_free_for_the_next() -> None:
    for finds in (True, False):
        fetcher, arrived = Fetcher(finds=finds), asyncio.Event()
        tell(SimpleNamespace(_fetcher=fetcher), arrived)
        request = fetcher.request()
        while not request.done():
            assert "node" in fetcher._in_flight
            await asyncio.sleep(0)
        assert not fetcher._in_flight
        assert arrived.is_set() is finds
