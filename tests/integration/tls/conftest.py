"""A secured server of each broker, for all modules."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import NativeServer, start_native
from tests.support.servers.fixtures import or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKERS = ("redis", "rabbitmq", "kafka")


@pytest.fixture(scope="session", params=BROKERS)
def secured(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    server = or_skip(lambda: start_native(request.param, secured=True))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says a lot about passwords and refusals
