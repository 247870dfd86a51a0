"""A stream that the server refuses is left out alone, and what was in flight of it comes back first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus.errors import AccessRefused, QueueConflict, QueueNotFound
from tests.support.adapters.base import Listener
from tests.support.adapters.redis import Bench, bodies, key, take

if TYPE_CHECKING:
    from msgbus.adapter import Consumer
    from msgbus.adapter.address import Address
    from msgbus.errors import BrokerError


async def refused(consumer: Consumer, listener: Listener, ill: Address, well: Address) -> BrokerError:
    """Receive until ``ill`` is refused; return why."""
    async with asyncio.timeout(20):
        while ill not in listener.refused:
            assert not await consumer.receive({ill: 10, well: 10}, 0.05)
    return listener.refused[ill]


async def test_a_refused_acknowledgement_ends_the_session_of_its_stream_alone(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    ill, well = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, ill, well, listener=listener)
    for address in (ill, well):
        await bench.publish(adapter, address, "abc")
    taken = [*await take(consumer, ill, 2), *await take(consumer, well, 2)]
    await bench.ask("ACL", "SETUSER", "default", "-xack", f"(+xack ~{key(well)})")
    try:
        await consumer.acknowledge(taken)
        assert isinstance(listener.refused[ill], AccessRefused)
        assert [session.address for session in listener.fenced] == [ill]  # type: ignore[attr-defined]  # StreamSessions
        assert await bench.pending(well) == 0
        assert bodies(await take(consumer, well, 1)) == ["c"]
        still = await consumer.subscribe({ill: 10, well: 10})
        assert isinstance(still[ill], AccessRefused), "it is asked before anything is read"
        assert still.keys() == {ill}
    finally:
        await bench.ask("ACL", "SETUSER", "default", "clearselectors", "+xack")
    assert not await consumer.subscribe({ill: 10, well: 10})
    assert bodies(await take(consumer, ill, 3)) == ["a", "b", "c"], "what was in flight comes first"


async def test_a_key_that_is_overwritten_is_told_and_consumed_again_when_it_is_a_stream(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    ill, well = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, ill, well, listener=listener)
    await bench.ask("SET", key(ill), "overwritten")
    assert isinstance(await refused(consumer, listener, ill, well), QueueConflict)
    await bench.publish(adapter, well, "a")
    assert bodies(await take(consumer, well, 1)) == ["a"]
    assert isinstance((await consumer.subscribe({ill: 10, well: 10}))[ill], QueueConflict)
    await bench.ask("DEL", key(ill))
    assert isinstance((await consumer.subscribe({ill: 10, well: 10}))[ill], QueueNotFound)
    await bench.publish(adapter, well, "b")
    assert bodies(await take(consumer, well, 1)) == ["b"]


async def test_of_many_streams_in_one_read_each_that_is_refused_is_found(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    queues = [await bench.queue(adapter) for _ in range(30)]
    consumer = await bench.consumer(adapter, *queues, listener=listener)
    ill = queues[::7]
    for address in ill:
        await bench.ask("SET", key(address), "overwritten")
    async with asyncio.timeout(20):
        while len(listener.refused) < len(ill):
            await consumer.receive(dict.fromkeys(queues, 10), 0.05)
    assert listener.refused.keys() == set(ill)
    for address in queues:
        if address not in ill:
            await bench.publish(adapter, address, "x")
            assert bodies(await take(consumer, address, 1)) == ["x"]


async def test_a_stream_that_is_refused_while_the_member_leaves_does_not_keep_it(bench: Bench) -> None:
    adapter, listener = await bench.adapter(), Listener()
    ill, well = await bench.queue(adapter), await bench.queue(adapter)
    consumer = await bench.consumer(adapter, ill, well, listener=listener)
    for address in (ill, well):
        await bench.publish(adapter, address, "a")
    taken = [*await take(consumer, ill, 1), *await take(consumer, well, 1)]
    await bench.ask("SET", key(ill), "overwritten")

    async def drain() -> None:
        await consumer.acknowledge(taken)

    listener.drain = drain
    async with asyncio.timeout(20):
        await consumer.close(5)
    assert await bench.pending(well) == 0
