"""pytest fixtures: one server of each broker for a whole session, started when the first test asks for it."""

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from .choose import start
from .errors import ServerUnavailable
from .server import Server

_S = TypeVar("_S")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """A Redis that answers; the test is skipped where there is none, and fails where CI=true."""
    yield from serving("redis")


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    """A RabbitMQ that answers; the test is skipped where there is none, and fails where CI=true."""
    yield from serving("rabbitmq")


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Server]:
    """A Kafka that answers; the test is skipped where there is none, and fails where CI=true."""
    yield from serving("kafka")


def serving(name: str) -> Iterator[Server]:
    """The body of such a fixture, for those who need a scope or a name of their own."""
    server = or_skip(lambda: start(name))
    try:
        yield server
    finally:
        server.stop()


def or_skip(begin: Callable[[], _S]) -> _S:
    """What `begin` starts; where that cannot be had the test is skipped, and fails where CI=true."""
    try:
        return begin()
    except ServerUnavailable as error:
        if os.environ.get("CI", "").lower() == "true":  # there, a test that does not run is a test that fails
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
