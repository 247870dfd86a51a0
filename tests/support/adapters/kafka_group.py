"""KafkaAdapter under test: a group whose members receive, handle and drain as the core does."""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.protocol.admin import DeleteTopicsRequest
from tenacity import wait_fixed

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.retrying import wait_until
from msgbus.adapter.url import BrokerURL
from msgbus.errors import BrokerUnavailable
from msgbus_kafka import KafkaAdapter, KafkaOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence

    from msgbus.adapter import Consumer, SessionListener
    from msgbus.adapter.envelope import Delivery
    from msgbus.errors import BrokerError
    from tests.support.servers.native import NativeServer

SESSION = 6.0
DEADLINE = 30.0
"""Seconds that anything here may take to come."""


@asynccontextmanager
async def connected(server: NativeServer) -> AsyncIterator[KafkaAdapter]:
    """An adapter; when it is closed, nothing of it is left behind."""
    server.resume()
    server.run()
    before = working()
    adapter = KafkaAdapter(BrokerURL.parse(server.url), KafkaOptions(session_timeout=SESSION))
    await _connect(adapter)
    try:
        yield adapter
    finally:
        async with asyncio.timeout(DEADLINE):
            await adapter.close()
            while left := working() - before:
                await asyncio.wait(left)


async def _connect(adapter: KafkaAdapter) -> None:
    """Connect. A server that was started or resumed just now may not know its own address yet."""

    async def connects() -> bool:
        try:
            await adapter.connect()
        except BrokerUnavailable:
            return False
        return True

    async with asyncio.timeout(DEADLINE):
        await wait_until(connects, wait=wait_fixed(0.1))


def working() -> set[asyncio.Task[Any]]:
    """Tasks of the adapter's and of aiokafka's."""
    return {task for task in asyncio.all_tasks() if re.search(r"\b(msgbus_|aio)kafka/", repr(task))}


def name(word: str = "queue") -> Address:
    return Address(f"{word}-{secrets.token_hex(4)}")


async def made(adapter: KafkaAdapter, word: str = "queue", **settings: Any) -> Address:
    address = name(word)
    await adapter.create_queues([QueueSpec(address=address, **settings)])
    return address


def message(address: Address, id: str, body: bytes = b"x", key: str | None = None) -> Outgoing:
    return Outgoing(address, id, 1_700_000_000_000, body, key, {})


async def publish(adapter: KafkaAdapter, address: Address, ids: Iterable[object], key: str | None = None) -> None:
    results = await adapter.publish([message(address, str(id), key=key) for id in ids], DEADLINE)
    assert not any(results)


async def delete(adapter: KafkaAdapter, address: Address) -> None:
    answer = await adapter._cluster.send(DeleteTopicsRequest([str(address)], 5000))
    assert answer.topic_error_codes[0][1] == 0


class Handled(NamedTuple):
    id: str
    key: str | None
    member: Member


class Member:
    """Half a core: a loop of receive and handle, and a drain that finishes what is in hand, up to the cut."""

    def __init__(self, handled: list[Handled], changed: asyncio.Event) -> None:
        self._handled = handled
        self._changed = changed
        self.sessions: set[Hashable] = set()
        self.calls: list[tuple[str, int]] = []
        self.held: list[Delivery] = []
        self.consumer: Consumer
        self.room: dict[Address, int] = {}
        self.holding = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._again: Callable[[], Any] | None = None

    async def subscribe(self, limits: dict[Address, int], newest: set[Address] | None = None) -> set[Address]:
        """From the one task that receives, where there is one."""
        if self._task is not None:
            await self.pause()
        refused = await self.consumer.subscribe(limits, newest or set())
        self.room = {address: limit for address, limit in limits.items() if address not in refused}
        self._stopped = False
        self._task = asyncio.create_task(self._run())
        return set(refused)

    async def pause(self) -> None:
        """Receive no more."""
        self._stopped = True
        self.consumer.wake()
        if self._task is not None:
            await self._task
            self._task = None

    async def leave(self, budget: float = 5.0) -> None:
        await self.pause()
        await self.consumer.close(budget)

    async def _run(self) -> None:
        while not self._stopped:
            deliveries = await self.consumer.receive(self.room, 0.5)
            assert {delivery.session for delivery in deliveries} <= self.sessions
            if self.holding:
                self.held += deliveries
            else:
                await self.handle(deliveries)
            self._changed.set()

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._handled.append(Handled(delivery.message.id, delivery.message.key, self))
        await self.consumer.acknowledge(deliveries)

    def begun(self, session: Hashable) -> None:
        assert session not in self.sessions
        self.sessions.add(session)
        self._changed.set()

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        assert budget >= 0
        self.calls.append(("ending", len(sessions)))
        mine = [delivery for delivery in self.held if delivery.session in sessions]
        self.held = [delivery for delivery in self.held if delivery.session not in sessions]
        await self.handle(mine)
        self.sessions -= set(sessions)
        self._changed.set()

    def lost(self, sessions: Sequence[Hashable]) -> None:
        self.calls.append(("lost", len(sessions)))
        self.held = [delivery for delivery in self.held if delivery.session not in sessions]
        self.sessions -= set(sessions)
        self._changed.set()

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        self.calls.append((f"refused {address}: {error}", 0))
        self._changed.set()


class Group:
    """Members of one group and what they handled."""

    def __init__(self, adapter: KafkaAdapter, stack: AsyncExitStack) -> None:
        self.name = f"g-{secrets.token_hex(4)}"
        self.handled: list[Handled] = []
        self.changed = asyncio.Event()
        self._adapter = adapter
        self._stack = stack

    async def member(self, *addresses: Address, limit: int = 100) -> Member:
        member = Member(self.handled, self.changed)
        listener: SessionListener = member
        member.consumer = await self._adapter.open_consumer(self.name, listener)
        self._stack.push_async_callback(member.leave, 0.0)
        await member.subscribe(dict.fromkeys(addresses, limit))
        return member

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {DEADLINE:g} s; {len(self.handled)} handled") from None

    async def until_handled(self, ids: Iterable[object]) -> None:
        wanted = {str(id) for id in ids}
        await self.until(lambda: wanted <= {one.id for one in self.handled}, f"{len(wanted)} messages")

    @property
    def repeated(self) -> int:
        return len(self.handled) - len({one.id for one in self.handled})
