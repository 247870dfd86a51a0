"""Dead letters on Redis: the lock, and when they are deleted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pytest
from redis.asyncio import Redis

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.headers import DEAD_LETTER_ID
from msgbus.adapter.url import BrokerURL
from msgbus.errors import BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked, QueueNotFound
from msgbus.failure.retry_queues import dead_letter_queue
from msgbus.publishing.publication import Publication
from msgbus.testing.harness import Harness, publish_all
from msgbus.testing.probe import Probe
from msgbus_redis import RedisAdapter, RedisOptions
from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.server import ServerAddress
from msgbus_redis.dead_letters import RedisDeadLetterStore
from tests.support.adapters.base import Listener
from tests.support.adapters.redis import take
from tests.support.servers.fixtures import or_skip
from tests.support.servers.native import NativeServer, start_native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from msgbus.adapter import DeadLetterStore
    from msgbus.adapter.envelope import Delivery
    from tests.support.servers.server import Server


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
    await one.publish(
        [Outgoing(address, str(n), n, b"x", "k", {DEAD_LETTER_ID: f"letter-{n}"}) for n in range(count)], 10
    )
    return address


async def test_one_taker_at_a_time_and_the_next_when_it_has_finished(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-one-taker", 7)
        first, second = await one.open_dead_letters(address), await one.open_dead_letters(address)
        page, cursor = await first.take(None, 3)
        with pytest.raises(DeadLettersLocked, match="dlq"):
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
        taken = await one.open_dead_letters(address)
        page, _ = await taken.take(None, 3)
        await redis.set(f"msgbus:taker:{{{address}}}", "somebody else")
        with pytest.raises(DeadLetterLockLost, match="dlq"):
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


# The lock.


async def test_a_lock_that_nobody_renews_expires_and_the_next_taker_gets_every_letter(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-dead-taker", 3)
        await redis.set(lock(address), "of a taker that was killed", px=200)
        taker = await one.open_dead_letters(address)
        with pytest.raises(DeadLettersLocked, match="dlq"):
            await taker.take(None, 3)
        assert ids(await until_taken(taker)) == ["0", "1", "2"]


async def test_a_hold_lasts_longer_than_its_lock_while_nothing_is_asked(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis, Clients(redis_server) as clients:
        address = await letters(one, "letters-slow-person", 3)
        slow = RedisDeadLetterStore(clients.one, "msgbus", address, expires=0.6)
        page, _ = await slow.take(None, 3)
        await until_renewed(redis, address, 3)
        with pytest.raises(DeadLettersLocked):
            await (await one.open_dead_letters(address)).take(None, 3)
        await slow.remove(page)
        await slow.close()
        assert await redis.exists(lock(address)) == 0


async def test_taking_and_removing_renew_the_hold(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-renewed", 3)
        taker = await one.open_dead_letters(address)
        page, _ = await taker.take(None, 3)
        for ask in (lambda: taker.take(None, 3), lambda: taker.remove(page)):
            await redis.pexpire(lock(address), 3000)
            await ask()
            assert await redis.pttl(lock(address)) > 3000


async def test_letters_of_a_hold_that_was_lost_are_lost_even_when_it_was_taken_again(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-lost-and-again", 4)
        taker = await one.open_dead_letters(address)
        old, cursor = await taker.take(None, 2)
        await redis.delete(lock(address))
        new, _ = await taker.take(cursor, 2)
        with pytest.raises(DeadLetterLockLost, match="dlq"):
            await taker.remove([*new, *old])
        assert await taker.count() == (4, True)
        await taker.remove(new)
        assert ids((await taker.look(None, 9))[0]) == ["0", "1"]


async def test_a_taker_that_was_cut_off_is_told_at_its_next_page_that_another_is_at_work(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-cut-off", 4)
        first, second = await one.open_dead_letters(address), await one.open_dead_letters(address)
        page, cursor = await first.take(None, 2)
        await redis.delete(lock(address))
        await second.take(None, 2)
        with pytest.raises(DeadLettersLocked):
            await first.take(cursor, 2)
        with pytest.raises(DeadLetterLockLost):
            await first.remove(page)
        await first.close()
        await second.remove((await second.take(None, 4))[0])
        assert await second.count() == (0, True)


async def test_what_was_only_looked_at_is_not_removed(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-looked-at", 2)
        hands = await one.open_dead_letters(address)
        seen, _ = await hands.look(None, 2)
        for _ in range(2):
            with pytest.raises(DeadLetterLockLost):
                await hands.remove(seen)
            await hands.take(None, 2)
        assert await hands.count() == (2, True)


async def test_a_take_that_was_cancelled_leaves_no_lock_after_close(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-cancelled", 2)
        for turns in range(12):
            hands = await one.open_dead_letters(address)
            taking = asyncio.create_task(hands.take(None, 2))
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait({taking})
            await hands.close()
            await hands.close()
        other = await one.open_dead_letters(address)
        assert ids(await until_taken(other)) == ["0", "1"]


async def test_closing_the_adapter_lets_go_and_closed_hands_take_nothing(redis_server: Server) -> None:
    async with client(redis_server) as redis:
        async with adapter(redis_server) as one:
            address = await letters(one, "letters-adapter-closed", 2)
            hands = await one.open_dead_letters(address)
            await hands.take(None, 2)
            assert await redis.exists(lock(address)) == 1
        assert await redis.exists(lock(address)) == 0
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "msgbus redis letters"]
        with pytest.raises(BrokerUnavailable):
            await hands.take(None, 2)


async def test_closing_never_raises_where_nobody_answers() -> None:
    server = native()
    try:
        async with adapter(server) as one:
            hands = await one.open_dead_letters(await letters(one, "letters-frozen", 1))
            await hands.take(None, 1)
            server.pause()
            async with asyncio.timeout(5):
                await hands.close()
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await hands.count()
    finally:
        server.stop()


async def test_a_purge_works_on_a_server_without_memory_and_gives_it_some() -> None:
    server = native(maxmemory="4mb")
    try:
        async with adapter(server) as one:
            address = await letters(one, "letters-no-memory", 0)
            large = Outgoing(address, "x", 1, b"x" * 100_000, None, {})
            while (await one.publish([large], 10))[0] is None:
                pass
            hands = await one.open_dead_letters(address)
            await hands.remove((await hands.take(None, 1000))[0])
            assert await hands.count() == (0, True)
            assert await one.publish([large], 10) == [None]
    finally:
        server.stop()


# Looking.


async def test_pages_are_in_order_and_removing_leaves_the_others(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-pages", 10)
        hands = await one.open_dead_letters(address)
        assert await pages(hands.look, 4) == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
        assert [len(page) for page in await pages(hands.look, 5)] == [5, 5]
        every, _ = await hands.take(None, 10)
        await hands.remove(every[3:7])
        await hands.remove([])
        assert await pages(hands.take, 2) == [["0", "1"], ["2", "7"], ["8", "9"]]
        assert await hands.count() == (6, True)


async def test_more_letters_than_one_script_takes_are_removed(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-many", 1203)
        hands = await one.open_dead_letters(address)
        every, end = await hands.take(None, 1203)
        assert end is None
        await hands.remove(every[:1201])
        assert await pages(hands.look, 100) == [["1201", "1202"]]


async def test_looking_changes_nothing_and_a_letter_says_what_was_sent(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = await letters(one, "letters-unchanged", 3)
        before = await redis.dump(f"msgbus:{{{address}}}")
        hands = await one.open_dead_letters(address)
        (letter, *_), _ = await hands.look(None, 3)
        assert await redis.dump(f"msgbus:{{{address}}}") == before
        assert await redis.exists(lock(address)) == 0
        message = letter.message
        assert (message.body, message.key, message.group, message.system) == (
            b"x",
            "k",
            "g",
            {DEAD_LETTER_ID: "letter-0"},
        )


async def test_letters_that_arrive_meanwhile_are_seen_by_the_same_walk(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        address = await letters(one, "letters-meanwhile", 3)
        hands = await one.open_dead_letters(address)
        page, cursor = await hands.take(None, 2)
        await hands.remove(page)
        await letters(one, "letters-meanwhile", 2)
        assert ids((await hands.take(cursor, 9))[0]) == ["2", "0", "1"]


async def test_an_empty_queue_exists_and_a_missing_one_is_named(redis_server: Server) -> None:
    async with adapter(redis_server) as one:
        empty = await one.open_dead_letters(await letters(one, "letters-empty", 0))
        assert await empty.look(None, 5) == ([], None)
        assert await empty.take(None, 5) == ([], None)
        missing = await one.open_dead_letters(dead_letter_queue("letters-missing", "g"))
        for ask in (missing.count, lambda: missing.look(None, 1), lambda: missing.take(None, 1)):
            with pytest.raises(QueueNotFound, match=r"letters-missing\.g\.dlq"):
                await ask()


# Retry queues.


async def test_an_entry_of_a_retry_queue_that_somebody_took_over_is_not_deleted(redis_server: Server) -> None:
    async with adapter(redis_server) as one, client(redis_server) as redis:
        address = Address("letters-taken-over", "g", "retry.1s")
        key = f"msgbus:{{{address}}}"
        await one.create_queues([QueueSpec(address=address, groups=["g"])])
        await one.publish([Outgoing(address, str(n), n, b"x", None, {}) for n in range(3)], 10)
        consumer = await one.open_consumer("g", Listener())
        await consumer.subscribe({address: 10})
        held = await take(consumer, address, 3)
        await redis.xclaim(key, "g", "other", 0, [held[1].receipt])
        await consumer.acknowledge(held)
        await consumer.acknowledge(held)
        assert [identity for identity, _ in await redis.xrange(key)] == [held[1].receipt]
        assert (await redis.xpending(key, "g"))["consumers"] == [{"name": b"other", "pending": 1}]


def lock(address: Address) -> str:
    return f"msgbus:taker:{{{address}}}"


def native(**settings: str) -> NativeServer:
    return or_skip(lambda: start_native("redis", settings=settings))


def ids(page: Sequence[Delivery]) -> list[str]:
    return [letter.message.id for letter in page]


async def pages(walk: Callable[[Any, int], Any], size: int) -> list[list[str]]:
    cursor, found = None, list[list[str]]()
    while True:
        page, cursor = await walk(cursor, size)
        found.append(ids(page))
        if cursor is None:
            return found


async def until_taken(hands: DeadLetterStore) -> Sequence[Delivery]:
    """What can be taken as soon as it can, well before a lock of a living taker's would expire."""
    async with asyncio.timeout(5):
        while True:
            with suppress(DeadLettersLocked):
                return (await hands.take(None, 100))[0]


async def until_renewed(redis: Any, address: Address, times: int) -> None:
    async with asyncio.timeout(5):
        last = await redis.pttl(lock(address))
        while times:
            left = await redis.pttl(lock(address))
            assert left > 0
            times -= left > last
            last = left


class Clients:
    """A Client of the adapter's own kind, for letters whose lock expires sooner."""

    def __init__(self, server: Server) -> None:
        ((host, port),) = BrokerURL.parse(server.url).hosts
        self.one = ConnectionPool(ServerAddress(host, port or 6379))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.one.close()
