"""A Kafka server of its own for each file, an adapter on it, and a group."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.adapters.kafka_group import Group, connected
from tests.support.servers.fixtures import or_skip
from tests.support.servers.native import start_native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from msgbus_kafka import KafkaAdapter
    from tests.support.servers.native import NativeServer


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says a lot about what is done to it and its servers


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[NativeServer]:
    """A server with the file's SERVER_SETTINGS, if it has any."""
    server = or_skip(lambda: start_native("kafka", settings=getattr(request.module, "SERVER_SETTINGS", None)))
    yield server
    server.resume()
    server.stop()


@pytest.fixture
async def adapter(server: NativeServer) -> AsyncIterator[KafkaAdapter]:
    async with connected(server) as adapter:
        yield adapter


@pytest.fixture
async def group(adapter: KafkaAdapter) -> AsyncIterator[Group]:
    async with AsyncExitStack() as stack:
        yield Group(adapter, stack)
