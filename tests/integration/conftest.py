"""Servers of these tests' own, one at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import NativeServer


@pytest.fixture(scope="module", params=["redis", "rabbitmq", "kafka"])
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    """Each in its turn, for a whole file."""
    server = or_skip(lambda: start_native(request.param))
    yield server
    server.stop()


@pytest.fixture
def quiet() -> None:
    """Without what aiokafka logs of connections that break."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
