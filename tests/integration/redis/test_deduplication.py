"""A publish whose reply was lost is repeated by the core and is in the stream once."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as ServerGone

from msgbus.adapter.envelope import Outgoing
from msgbus.broker import Broker
from msgbus.errors import BrokerUnavailable, QueueNotFound
from msgbus.publishing.publication import Publication
from tests.support.adapters.redis import Bench, key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_redis import RedisAdapter
    from msgbus_redis.connection.connection import Command


class Wire:
    """The publisher's connection: what it sends arrives, and the replies of some pipelines do not."""

    def __init__(self, adapter: RedisAdapter, cut: Callable[[int], bool]) -> None:
        self.sent: list[Sequence[Command]] = []
        self._line = adapter._publisher._connection
        self._run = self._line.run
        self._cut = cut
        self._line.run = self.run  # type: ignore[method-assign]

    async def run(self, commands: Sequence[Command], within: float, replies: list[Any] | None = None) -> list[Any]:
        """One pipeline."""
        if commands[0][0] == "TIME":
            return await self._run(commands, within, replies)
        self.sent.append(commands)
        if self._cut(len(self.sent)):
            await self._run(commands, within, [])
            await self._line.close()
            raise ServerGone("the reply was lost")
        return await self._run(commands, within, replies)

    def words(self) -> list[str]:
        """What was sent, pipeline by pipeline."""
        return ["+".join(str(command[0]) for command in commands) for commands in self.sent]


async def bodies_of(bench: Bench, address: Address) -> list[bytes]:
    entries = await bench.ask("XRANGE", key(address), "-", "+")
    return [fields[fields.index(b"body") + 1] for _, fields in entries]


async def test_fifty_publishes_without_a_reply_are_fifty_entries(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    Wire(adapter, lambda turn: turn == 1)
    async with Broker(adapter, group="g") as broker:
        sent = [Publication(str(n).encode(), message_id=str(n)) for n in range(50)]
        assert await broker.publish_many(address.queue, sent) == [None] * 50
    assert await bodies_of(bench, address) == [str(n).encode() for n in range(50)]


async def test_publishes_one_by_one_that_lose_every_other_reply_are_as_many_entries(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    wire = Wire(adapter, lambda turn: turn % 2 == 1)
    async with Broker(adapter, group="g") as broker:
        for n in range(20):
            await broker.publish(address.queue, str(n))
    assert await bodies_of(bench, address) == [str(n).encode() for n in range(20)]
    assert wire.words() == ["XADD", "EVAL"] * 20, "the first try is plain, the other one looks"


async def test_several_lost_replies_in_a_row_are_one_entry(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    Wire(adapter, lambda turn: turn < 4)
    async with Broker(adapter, group="g") as broker:
        await broker.publish(address.queue, "x")
    assert await bodies_of(bench, address) == [b"x"]


async def test_what_did_not_arrive_is_added_behind_what_did_and_in_order(bench: Bench) -> None:
    adapter = await bench.adapter()
    address, other = await bench.queue(adapter), await bench.queue(adapter)
    messages = [bench.message(one, str(n)) for n, one in enumerate([address] * 6 + [other] * 3 + [address] * 3)]
    Wire(adapter, lambda turn: turn == 1)
    first = await adapter.publish(messages, 5.0)
    assert all(isinstance(one, BrokerUnavailable) and one.uncertain for one in first)
    for entry in await bench.ask("XRANGE", key(address), "-", "+"):
        if entry[1][5] in {b"3", b"4", b"5", b"9"}:  # as if the connection had broken before these
            await bench.ask("XDEL", key(address), entry[0])
    assert await adapter.publish(messages, 5.0) == [None] * 12
    assert await bodies_of(bench, address) == [b"0", b"1", b"2", b"10", b"11", b"3", b"4", b"5", b"9"]
    assert await bodies_of(bench, other) == [b"6", b"7", b"8"]


async def test_another_message_with_the_same_id_is_not_taken_for_it(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    Wire(adapter, lambda turn: turn == 2)
    earlier, later = (Outgoing(address, "same", 1, b"x", "k", {"msgbus-hop": hop}) for hop in ("1", "2"))
    assert await adapter.publish([earlier], 5.0) == [None]
    (lost,) = await adapter.publish([later], 5.0)
    assert isinstance(lost, BrokerUnavailable)
    (mine,) = [
        entry for entry in await bench.ask("XRANGE", key(address), "-", "+") if b'{"msgbus-hop": "2"}' in entry[1]
    ]
    await bench.ask("XDEL", key(address), mine[0])
    assert await adapter.publish([later], 5.0) == [None]
    assert len(await bodies_of(bench, address)) == 2


async def test_a_stream_that_was_deleted_meanwhile_is_missing(bench: Bench) -> None:
    adapter = await bench.adapter()
    address, there = await bench.queue(adapter), await bench.queue(adapter)
    messages = [bench.message(address), bench.message(there)]
    Wire(adapter, lambda turn: turn == 1)
    await adapter.publish(messages, 5.0)
    await bench.ask("DEL", key(address))
    verdicts = await adapter.publish(messages, 5.0)
    assert [type(one) for one in verdicts] == [QueueNotFound, type(None)]


async def test_what_nobody_repeats_is_forgotten(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    Wire(adapter, lambda _: True)
    for _ in range(10):
        await adapter.publish([bench.message(address)], 5.0)
    gc.collect()  # the lost connection's traceback and the verdicts know each other
    assert not adapter._publisher._first_attempts._sent


async def test_many_publishers_that_lose_replies_at_random_add_nothing_twice(bench: Bench) -> None:
    adapter = await bench.adapter()
    address = await bench.queue(adapter)
    turns = itertools.cycle([False, True, False, False, True])
    Wire(adapter, lambda _: next(turns))
    async with Broker(adapter, group="g") as broker:

        async def publish(name: int) -> None:
            for n in range(20):
                await broker.publish(address.queue, f"{name}-{n}", key=str(name))

        await asyncio.gather(*(publish(name) for name in range(10)))
    got = [body.decode().split("-") for body in await bodies_of(bench, address)]
    assert len(got) == 200
    for name in range(10):
        assert [int(n) for who, n in got if who == str(name)] == list(range(20))
