"""The public interface as a service sees it: checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from msgbus import Broker, Lag, Message, Publication, ReplayResult, Subscription, connect
from msgbus.errors import BrokerError

broker = connect("memory://", group="loyalty", deadline=10)
assert_type(broker, Broker)


@broker.consumes("purchases", concurrency=5)
async def on_purchase(message: Message) -> None:
    assert_type(message.body, bytes)
    assert_type(message.key, str | None)
    assert_type(message.attempt, int)


async def use() -> None:
    async with broker as same:
        assert_type(same, Broker)
        await same.create_queue("purchases", groups=["loyalty"], partitions=None)
        await same.publish("purchases", {"cents": 5}, key="customer", headers={"a": "b"})
        assert_type(await same.publish_many("purchases", [b"x", Publication("y", key="k")]), list[BrokerError | None])
        subscription = await same.consume("awards", on_purchase, group="notification")
        assert_type(subscription, Subscription)
        await subscription.ready()
        assert_type(await same.lag("purchases"), Lag)
        await same.consume("awards", on_purchase, group="audit", start="newest")
        await same.history("purchases").rewind("oldest")
        assert_type(await same.history("purchases").replay(datetime(2026, 1, 31, tzinfo=UTC), "newest"), ReplayResult)
    await broker.run()


async def misuse() -> None:
    await broker.consume("purchases", print)  # type: ignore[arg-type]  # not async
    await broker.consume("purchases", on_purchase, start="latest")  # type: ignore[arg-type]
    await broker.publish(7, b"x")  # type: ignore[arg-type]
    await broker.publish("purchases", b"x", headers={"a": 1})  # type: ignore[dict-item]
