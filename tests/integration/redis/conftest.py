"""What most of these files share: a Redis server of their own, and the adapters of one test on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.adapters.redis import bench_on, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.adapters.redis import Bench
    from tests.support.servers.native import NativeServer


@pytest.fixture(scope="module")
def server() -> Iterator[NativeServer]:
    """A server for the tests of one file."""
    with serving() as server:
        yield server


@pytest.fixture
async def bench(server: NativeServer) -> AsyncIterator[Bench]:
    """The adapters of one test, on a server that runs."""
    server.run()
    async with bench_on(server) as bench:
        yield bench
