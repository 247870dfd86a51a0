"""The public interface as a service sees it: checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from tenacity import RetryCallState, retry
from tenacity.wait import (
    wait_base,
    wait_chain,
    wait_combine,
    wait_exception,
    wait_exponential_jitter,
    wait_fixed,
    wait_none,
    wait_random,
)

from msgbus import Backoff, Broker, Lag, Message, Publication, ReplayResult, RetryPolicy, Subscription, connect
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


def seconds(state: RetryCallState) -> float:
    return 0.5 * state.attempt_number


async def seconds_later(state: RetryCallState) -> float:
    return 0.5 * state.attempt_number


class Mine(wait_base):
    def __call__(self, retry_state: RetryCallState) -> float:
        return float(retry_state.attempt_number)


def waits() -> list[RetryPolicy]:
    chain = wait_chain(wait_fixed(0.1), Backoff(first=1, most=5))
    return [
        RetryPolicy(backoff=Backoff(first=0.1, most=5), probe_backoff=wait_random(1, 5)),
        RetryPolicy(backoff=wait_exponential_jitter(max=10)),
        RetryPolicy(backoff=chain, probe_backoff=chain),
        RetryPolicy(backoff=wait_combine(wait_fixed(1), Backoff(first=1, most=5), seconds)),
        RetryPolicy(backoff=wait_fixed(1) + wait_random(0, 1)),
        RetryPolicy(backoff=Backoff(first=1, most=5) + wait_random(0, 1)),
        RetryPolicy(backoff=sum([wait_fixed(1), Backoff(first=1, most=5)], wait_none())),
        RetryPolicy(backoff=wait_exception(lambda error: getattr(error, "retry_after", 1.0))),
        RetryPolicy(backoff=seconds),
        RetryPolicy(backoff=Mine(), probe_backoff=lambda state: state.attempt_number),
    ]


@retry(wait=Backoff(first=0.1, most=5))
async def tried_again() -> int:
    return 1


async def of_tenacity() -> None:
    assert_type(await tried_again(), int)


def no_waits() -> None:
    RetryPolicy(backoff=5)  # type: ignore[arg-type]
    RetryPolicy(backoff=wait_none)  # type: ignore[arg-type]  # a class
    RetryPolicy(backoff=seconds_later)  # type: ignore[arg-type]  # async
    RetryPolicy(probe_backoff=lambda: 1.0)  # type: ignore[arg-type, misc]


async def misuse() -> None:
    await broker.consume("purchases", print)  # type: ignore[arg-type]  # not async
    await broker.consume("purchases", on_purchase, start="latest")  # type: ignore[arg-type]
    await broker.publish(7, b"x")  # type: ignore[arg-type]
    await broker.publish("purchases", b"x", headers={"a": 1})  # type: ignore[dict-item]
