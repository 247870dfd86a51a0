"""Order per key when a connection breaks and the server has not noticed yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus.testing import Proxy
from msgbus_rabbitmq.connection import connector
from msgbus_rabbitmq.consumer import channel_session
from msgbus_rabbitmq.consumer.consumer import RabbitConsumer
from msgbus_rabbitmq.topology import server_queue
from tests.support.adapters.base import GROUP
from tests.support.adapters.rabbitmq import DEADLINE, Bench, bodies, broken, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from msgbus.adapter import Consumer
    from msgbus.adapter.envelope import Delivery
    from tests.support.servers.native import NativeServer


@pytest.fixture(scope="module")
def rabbitmq_server() -> Iterator[NativeServer]:
    with serving() as server:
        yield server


@pytest.fixture
async def bench(rabbitmq_server: NativeServer) -> AsyncIterator[Bench]:
    bench = Bench(rabbitmq_server)
    async with bench.stack:
        yield bench


def hang_up(consumer: Consumer) -> None:
    """Without a word to the server."""
    assert isinstance(consumer, RabbitConsumer)
    dialled = consumer._connection._established
    assert dialled is not None
    assert dialled.transport._writer is not None
    dialled.transport._writer.transport.close()


async def test_what_a_connection_that_the_server_still_believes_in_had_comes_before_what_is_newer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "REPLY_TIMEOUT_SECONDS", 1.0)
    behind = bench.server.recipe.port
    async with Proxy("127.0.0.1", behind) as proxy:
        url = bench.server.url.replace(f":{behind}", f":{proxy.port},127.0.0.1:{behind}")
        adapter = await bench.adapter(url)
        address = await bench.queue(adapter)
        assert await adapter.publish(bench.outgoing(address, 30, key="k"), 5) == [None] * 30
        consumer, _ = await bench.consumer(adapter, {address: 10})
        assert bodies(await until(consumer, {address: 3}, 3)) == [0, 1, 2]
        proxy.hole()
        hang_up(consumer)
        await broken(consumer, {address: 3})
        await consumer.close(0)

        again, _ = await bench.consumer(adapter, {address: 10})
        assert not await again.receive({address: 10}, 1.5), "newer ones wait"
        await proxy.heal()
        got: list[Delivery] = []
        async with asyncio.timeout(DEADLINE):
            while len(got) < 30:
                some = await again.receive({address: 10}, 1.0)
                await again.acknowledge(some)
                got += some
    assert list(dict.fromkeys(bodies(got))) == list(range(30))


async def test_what_others_got_is_not_waited_for_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel_session, "DETECTED_LOSS_WAIT_SECONDS", 0.5)
    adapter, other = await bench.adapter(), await bench.adapter()
    address = await bench.queue(adapter)
    await adapter.publish(bench.outgoing(address, 5, key="k"), 5)
    consumer, _ = await bench.consumer(adapter, {address: 5})
    assert len(await until(consumer, {address: 5}, 5)) == 5
    taker, _ = await bench.consumer(other, {address: 5})
    hang_up(consumer)
    await broken(consumer, {address: 5})
    await consumer.close(0)
    assert len(await until(taker, {address: 5}, 5)) == 5
    again, _ = await bench.consumer(adapter, {address: 5})
    assert await adapter.publish(bench.outgoing(address, key="k"), 5) == [None]
    assert bodies(await until(again, {address: 5}, 1)) == [5]
    assert "5 messages that were in flight" in caplog.text


async def test_what_a_lost_connection_never_showed_comes_before_what_is_newer(bench: Bench) -> None:
    """A foreign consumer stands for the lost one in the server's books, with ten that its client has not seen."""
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    consumer, _ = await bench.consumer(adapter, {address: 10})
    hang_up(consumer)
    await broken(consumer, {address: 10})
    await consumer.close(0)
    in_the_books = await bench.raw()
    await in_the_books.basic_qos(prefetch_count=10)
    ten: list[object] = []
    all_ten = asyncio.Event()

    async def take_in(one: object) -> None:
        ten.append(one)
        if len(ten) == 10:
            all_ten.set()

    await in_the_books.basic_consume(server_queue(address, GROUP), take_in)
    assert await adapter.publish(bench.outgoing(address, 20, key="k"), 5) == [None] * 20
    async with asyncio.timeout(DEADLINE):
        await all_ten.wait()

    opening = asyncio.ensure_future(bench.consumer(adapter, {address: 20}))
    done, _ = await asyncio.wait({opening}, timeout=0.5)
    assert not done, "it waits"
    await in_the_books.close()
    again, _ = await opening
    assert bodies(await until(again, {address: 20}, 20)) == list(range(20))


async def test_one_of_several_members_consumes_again_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_session, "DETECTED_LOSS_WAIT_SECONDS", 10 * DEADLINE)
    adapter, other = await bench.adapter(), await bench.adapter()
    address = await bench.queue(adapter)
    await bench.consumer(other, {address: 5})
    consumer, _ = await bench.consumer(adapter, {address: 5})
    hang_up(consumer)
    await broken(consumer, {address: 5})
    await consumer.close(0)
    async with asyncio.timeout(DEADLINE):
        await bench.consumer(adapter, {address: 5})


async def test_a_member_that_was_alone_knows_it_still_when_its_raised_limit_begins_a_new_session(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_session, "OWN_CONSUMER_GRACE_SECONDS", DEADLINE)
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    consumer, _ = await bench.consumer(adapter, {address: 10})
    assert isinstance(consumer, RabbitConsumer)
    before = consumer._sessions[address]
    assert before.alone
    # As the server does now and then with the session that was left: it counts one for a moment longer.
    channel = await before._connection.channel()
    await channel.underlay.basic_consume(server_queue(address, GROUP), _nothing)
    raising = asyncio.create_task(consumer.subscribe({address: 20}))
    await asyncio.wait({raising}, timeout=0.5)  # time to ask; that it has asked, nobody tells
    await before._connection.close_channel(channel)
    await raising
    after = consumer._sessions[address]
    assert after is not before
    assert after.alone


async def _nothing(message: object) -> None:
    del message
