"""RabbitAdapter under test: adapters on a server that can be killed, and new queues."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiormq

from msgbus.adapter import QueueSpec
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.url import BrokerURL
from msgbus.errors import BrokerUnavailable
from msgbus_rabbitmq import RabbitAdapter, RabbitOptions
from tests.support.adapters.base import GROUP, AdapterBench, Listener, own_server
from tests.support.servers.rabbitmq_native import RabbitmqRecipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from msgbus.adapter import Consumer
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from tests.support.servers.native import NativeServer

DEADLINE = 20.0
serving = partial(own_server, "rabbitmq")


def ctl(server: NativeServer, *words: str) -> str:
    """What rabbitmqctl says to these words."""
    recipe = server.recipe
    assert isinstance(recipe, RabbitmqRecipe)
    return recipe.ctl(*words)


class Bench(AdapterBench):
    """Adapters of one test, on queues of its own."""

    async def adapter(self, url: str = "", **options: Any) -> RabbitAdapter:
        adapter = RabbitAdapter(BrokerURL.parse(url or self.server.url), RabbitOptions(**options))
        self.stack.push_async_callback(adapter.close)
        return adapter

    async def queue(self, adapter: RabbitAdapter, *groups: str) -> Address:
        address = self.address()
        await adapter.create_queues([QueueSpec(address=address, groups=groups or (GROUP,))])
        return address

    def outgoing(self, address: Address, n: int = 1, **fields: Any) -> list[Outgoing]:
        about: dict[str, Any] = {"time": 1_700_000_000_123, "key": None, "headers": {}, **fields}
        body = about.pop("body", None)
        return [
            Outgoing(address, id=f"m{number}", body=body or str(number).encode(), **about)
            for number in itertools.islice(self._ids, n)
        ]

    async def consumer(
        self, adapter: RabbitAdapter, limits: Mapping[Address, int], group: str = GROUP
    ) -> tuple[Consumer, Listener]:
        listener = Listener()
        consumer = await adapter.open_consumer(group, listener)
        self.stack.push_async_callback(consumer.close, 0)
        assert not await consumer.subscribe(limits)
        return consumer, listener

    async def raw(self) -> aiormq.abc.AbstractChannel:
        connection = await aiormq.connect(self.server.url.replace("rabbitmq://", "amqp://"))
        self.stack.push_async_callback(connection.close)
        return await connection.channel()


@asynccontextmanager
async def paused(server: NativeServer) -> AsyncIterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def until(consumer: Consumer, room: Mapping[Address, int], n: int) -> list[Delivery]:
    """``n`` deliveries, or fail."""
    got: list[Delivery] = []
    async with asyncio.timeout(DEADLINE):
        while len(got) < n:
            got += await consumer.receive({one: most - len(got) for one, most in room.items()}, 1.0)
    return got


async def broken(consumer: Consumer, room: Mapping[Address, int]) -> BrokerUnavailable:
    """What receive() raises, at last."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await consumer.receive(room, 1.0)
            except BrokerUnavailable as error:
                return error


async def works_again(adapter: RabbitAdapter) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await adapter.connect()
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def drained(adapter: RabbitAdapter, address: Address) -> None:
    """Wait until all of the group's messages are out of the queue."""
    async with asyncio.timeout(DEADLINE):
        while (await adapter.lag(address, GROUP)).total:
            await asyncio.sleep(0.01)


def bodies(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(one.message.body) for one in deliveries]
