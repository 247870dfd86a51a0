"""Dead letters on Redis: the lock, and what is deleted when."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from msgbus.adapter import QueueSpec
from msgbus.broker import Publication
from msgbus.errors import LettersBusy, LettersLost
from msgbus.ladder import dead_letter_queue
from msgbus.message import LETTER, Outgoing
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import Probe
from msgbus.url import BrokerURL
from msgbus_redis.adapter import RedisAdapter, RedisOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.names import Address
    from tests.servers.server import Server


@asynccontextmanager
async def adapter(server: Server) -> AsyncIterator[RedisAdapter]:
    made = RedisAdapter(BrokerURL.parse(server.url), RedisOptions())
    await made.connect()
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[Any]:
    made = Redis.from_url(server.url)
    try:
        yield made
    finally:
        await made.aclose()


async def letters(one: RedisAdapter, name: str, count: int) -> Address:
    address = dead_letter_queue(name, "g")
    await one.create_queues([QueueSpec(address=address)])
    await one.publish([Outgoing(address, str(n), n, b"x", "k", {LETTER: f"letter-{n}"}) for n in range(count)], 10)
    return address


async def test_one_taker_at_a_time_and_the_next_when_it_has_finished(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-one-taker", 7)
        first, second = await one.open_letters(address), await one.open_letters(address)
        page, cursor = await first.take(None, 3)
        with pytest.raises(LettersBusy, match="dlq"):
            await second.take(None, 3)
        assert len((await second.look(None, 100))[0]) == 7
        await first.remove(page)
        await first.close()
        rest, end = await second.take(None, 100)
        assert ([one.message.id for one in rest], end) == (["3", "4", "5", "6"], None)
        assert cursor is not None
        await second.remove(rest)
        assert await second.count() == (0, True), "an empty queue is still there"
        await second.close()


async def test_a_taker_that_lost_its_hold_removes_nothing(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-lost-hold", 3)
        taken = await one.open_letters(address)
        page, _ = await taken.take(None, 3)
        await redis.set(f"msgbus:taker:{{{address}}}", "somebody else")
        with pytest.raises(LettersLost, match="dlq"):
            await taken.remove(page)
        await taken.close()
        assert await taken.count() == (3, True)
        assert await redis.get(f"msgbus:taker:{{{address}}}") == b"somebody else"
        await redis.delete(f"msgbus:taker:{{{address}}}")


async def test_a_retry_queue_keeps_nothing_that_is_acknowledged_and_a_queue_does(redis_server: Server) -> None:
    async with Harness(redis_server.url) as harness, client(redis_server) as redis:
        queue, probe = await harness.queue("g"), Probe()
        broker = await harness.member(queue, probe)
        ids = await publish_all(broker, queue, [Publication(b"x", message_id=str(n), delay=1.0) for n in range(20)])
        await probe.until_handled(ids)
        await broker.close()
        assert await redis.xlen(f"msgbus:{{{queue}.g.retry.1s}}") == 0
        assert await redis.xlen(f"msgbus:{{{queue}}}") == 20
