"""Failed logins and missing rights are AccessRefused at once, long before any deadline."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from msgbus import AccessRefused, BrokerUnavailable, connect
from msgbus.testing import Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from msgbus import Broker
    from tests.support.servers import NativeServer

AT_ONCE = 20.0
"""Seconds; the deadline of the brokers here is much longer."""
QUEUE = "contract-refusals"


@asynccontextmanager
async def connected(url: str, deadline: float = 300, within: float = AT_ONCE) -> AsyncIterator[Broker]:
    async with asyncio.timeout(within), connect(url, group="g", deadline=deadline) as broker:
        yield broker


async def create(broker: Broker) -> None:
    await broker.create_queue(QUEUE, groups=["g"])


async def publish(broker: Broker) -> None:
    await broker.publish(QUEUE, b"x")


async def consume(broker: Broker) -> None:
    subscription = await broker.consume(QUEUE, Probe())
    await subscription.ready()


async def lag(broker: Broker) -> None:
    await broker.lag(QUEUE)


async def count_letters(broker: Broker) -> None:
    await broker.dead_letters(QUEUE).count()


async def look_at_letters(broker: Broker) -> None:
    [_ async for _ in broker.dead_letters(QUEUE).look()]


# What RabbitMQ asks no rights for: declaring passively.
OPEN = {("rabbitmq", "lag"), ("rabbitmq", "count_letters")}
VERBS = [create, publish, consume, lag, count_letters, look_at_letters]


async def test_a_wrong_password_is_refused_and_told_to_nobody(secured: NativeServer) -> None:
    for tls in (True, False):
        with pytest.raises(AccessRefused) as caught:
            async with connected(secured.recipe.url_as("app", "hunter2", tls=tls)) as broker:
                await create(broker)
        assert "hunter2" not in str(caught.value)


async def test_an_unknown_authority_is_not_trusted(secured: NativeServer, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(AccessRefused, match="certificate"):
        async with connected(secured.recipe.url_as("app", ca=str(tmp_path / "other.pem"))) as broker:
            await create(broker)


async def test_tls_and_clear_text_at_the_wrong_port_end_by_the_deadline(secured: NativeServer) -> None:
    right, clear = secured.recipe.port, secured.recipe.clear_port
    for tls, ours, theirs in ((True, right, clear), (False, clear, right)):
        url = secured.recipe.url_as("app", tls=tls).replace(f":{ours}", f":{theirs}")
        with pytest.raises(BrokerUnavailable):
            async with connected(url, deadline=2) as broker:
                await create(broker)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
async def test_a_user_without_rights_is_refused_whatever_he_does(
    secured: NativeServer, verb: Callable[[Broker], Awaitable[Any]]
) -> None:
    async with connected(secured.url) as admin:
        await create(admin)
    refused = nullcontext() if (secured.name, verb.__name__) in OPEN else pytest.raises(AccessRefused)
    with refused:
        async with connected(secured.recipe.url_as("nobody")) as broker:
            await verb(broker)


async def test_rights_that_are_taken_away_refuse_a_publish_and_given_back_let_it_pass(secured: NativeServer) -> None:
    # The server's own commands, which change the rights, take seconds each on a busy machine.
    async with connected(secured.recipe.url_as("app"), within=4 * AT_ONCE) as broker:
        await create(broker)
        await publish(broker)
        secured.recipe.forbid("app")
        try:
            with pytest.raises(AccessRefused):
                await publish_at_last(secured, broker)
        finally:
            secured.recipe.allow("app", *secured.recipe.LEAST)
        await publish_at_last(secured, broker)


async def publish_at_last(secured: NativeServer, broker: Broker) -> None:
    """RabbitMQ's channels remember what was allowed them, so there it takes another connection."""
    if secured.name != "rabbitmq":
        return await publish(broker)
    async with connected(secured.recipe.url_as("app")) as another:
        return await publish(another)
