"""RedisAdapter under test: adapters on a server that can be killed, and new queues."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from msgbus.adapter import QueueSpec
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.url import BrokerURL
from msgbus_redis import RedisAdapter, RedisOptions
from msgbus_redis.connection.pool import ConnectionPool
from msgbus_redis.connection.server import ServerAddress
from tests.support.adapters.base import GROUP, AdapterBench, Listener, own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from msgbus.adapter import Consumer
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from tests.support.servers.native import NativeServer

LONG = 60.0
"""Seconds of visibility that no test waits for."""
SHORT = 0.4
"""Seconds of visibility where a test waits for the taking over."""
serving = partial(own_server, "redis")


class Bench(AdapterBench):
    """Adapters of one test, on queues of its own."""

    def __init__(self, server: NativeServer) -> None:
        super().__init__(server)
        url = BrokerURL.parse(server.url)
        ((host, port),) = url.hosts
        self.raw = ConnectionPool(ServerAddress(host, port or 6379))

    async def adapter(self, url: str = "", **options: Any) -> RedisAdapter:
        adapter = RedisAdapter(BrokerURL.parse(url or self.server.url), RedisOptions(**{"visibility": LONG, **options}))
        self.stack.push_async_callback(adapter.close)
        return adapter

    async def queue(self, adapter: RedisAdapter) -> Address:
        address = self.address()
        await adapter.create_queues([QueueSpec(address=address, groups=[GROUP])])
        return address

    def message(self, address: Address, body: str = "") -> Outgoing:
        number = next(self._ids)
        return Outgoing(address, f"id{number}", 1, (body or str(number)).encode(), None, {})

    async def publish(self, adapter: RedisAdapter, address: Address, bodies: Iterable[str]) -> None:
        messages = [self.message(address, body) for body in bodies]
        assert await adapter.publish(messages, 5.0) == [None] * len(messages)

    async def consumer(self, adapter: RedisAdapter, *addresses: Address, listener: Listener | None = None) -> Consumer:
        consumer = await adapter.open_consumer(GROUP, listener or Listener())
        assert not await consumer.subscribe(dict.fromkeys(addresses, 1000))
        return consumer

    async def ask(self, *command: str | bytes | int) -> Any:
        return await self.raw.run_one(command, "asking")

    async def pending(self, address: Address) -> int:
        return int((await self.ask("XPENDING", key(address), GROUP))[0])

    async def consumers(self, address: Address) -> list[bytes]:
        return [one[1] for one in await self.ask("XINFO", "CONSUMERS", key(address), GROUP)]


@asynccontextmanager
async def bench_on(server: NativeServer) -> AsyncIterator[Bench]:
    bench = Bench(server)
    bench.stack.push_async_callback(bench.raw.close)
    async with bench.stack:
        yield bench


def key(address: Address) -> str:
    return f"msgbus:{{{address}}}"


def bodies(deliveries: Sequence[Delivery]) -> list[str]:
    return [one.message.text for one in deliveries]


async def take(consumer: Consumer, address: Address, count: int, within: float = 5.0) -> list[Delivery]:
    """``count`` deliveries; fails when they do not come."""
    taken: list[Delivery] = []
    async with asyncio.timeout(within):
        while len(taken) < count:
            taken += await consumer.receive({address: count - len(taken)}, 0.5)
    return taken


async def drained(consumer: Consumer, *addresses: Address) -> None:
    """Receive until the consumer raises."""
    async with asyncio.timeout(20.0):
        while True:
            await consumer.receive(dict.fromkeys(addresses, 5), 1.0)


async def take_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
