"""A publisher that is closed, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter.address import queue_address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import BrokerUnavailable
from msgbus_kafka.producer import producer_slot
from msgbus_kafka.producer.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.errors import BrokerError


class Made(Exception):
    """A producer was made."""


class KnownTopics:
    """Topics that are all known."""

    async def limit(self, _: str) -> int:
        return 1_000_000

    def cached_limit(self, _: str) -> int | None:
        return None


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    def make(*_: object, **__: object) -> Any:
        raise Made

    monkeypatch.setattr(producer_slot, "new_producer", make)
    access: Any = SimpleNamespace(servers="here")
    topics: Any = KnownTopics()
    return Publisher(access, topics)


async def publish(publisher: Publisher) -> Sequence[BrokerError | None]:
    return await publisher.publish([Outgoing(queue_address("q", ""), "id", 0, b"x", None, {})], timeout=5)


async def test_a_publish_after_the_closing_is_refused_and_makes_no_producer(publisher: Publisher) -> None:
    await publisher.close()
    (error,) = await publish(publisher)
    assert isinstance(error, BrokerUnavailable)
    assert "the connection was closed" in str(error)
    assert not error.uncertain


async def test_a_publisher_that_connects_again_makes_a_producer(publisher: Publisher) -> None:
    await publisher.close()
    with pytest.raises(Made):
        await publisher.connect()
    (error,) = await publish(publisher)
    assert isinstance(error, BrokerUnavailable)
    assert isinstance(error.__cause__, Made)
