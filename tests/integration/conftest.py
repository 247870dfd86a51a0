"""Servers that only these tests use, one at a time."""

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
    """Each broker's server in turn, for a whole file."""
    server = or_skip(lambda: start_native(request.param))
    yield server
    server.stop()


@pytest.fixture
def quiet() -> None:
    """Silence aiokafka's log of broken connections."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
