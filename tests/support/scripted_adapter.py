"""Scripted adapter: the test is its server. It delivers what the test gives, and records acknowledgements."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from msgbus.adapter import Adapter, Capabilities, Consumer, Lag
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Delivery, build_message
from msgbus.adapter.options import AdapterOptions
from msgbus.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from msgbus.adapter import DeadLetterStore, QueueSpec, SessionListener
    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.url import BrokerURL
    from msgbus.errors import BrokerError

QUEUE = Address("q")


def delivery(session: Hashable, position: int | None, name: str, key: str | None = None) -> Delivery:
    """Make a delivery of queue ``q`` in group ``g``."""
    message = build_message(QUEUE, "g", b"", {}, id=name, time=0, key=key)
    return Delivery(message, QUEUE, session, name, position)


class ScriptedConsumer(Consumer):
    """Delivers what ``give()`` got, whatever the capacity."""

    def __init__(self, adapter: ScriptedAdapter, listener: SessionListener) -> None:
        self.adapter = adapter
        self.listener = listener
        self.acknowledged: list[str] = []
        self.limits: list[dict[Address, int]] = []
        self.refuse_acknowledging = 0
        self.lost_on_extend: set[str] = set()
        self.extending = asyncio.Event()
        self.answer_extend = asyncio.Event()
        self.answer_extend.set()
        self.closed = False
        self.broken: Exception | None = None
        self._queue: deque[Delivery] = deque()
        self._event = asyncio.Event()

    def give(self, *deliveries: Delivery) -> None:
        """Let the next receive() return these."""
        self._queue.extend(deliveries)
        self._event.set()

    def fail(self, error: Exception) -> None:
        """Let the next receive() raise ``error``."""
        self.broken = error
        self._event.set()

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        del newest
        if not self.limits:
            self.listener.begun("s")
        self.limits.append(dict(limits))
        return {address: error for address, error in self.adapter.refused.items() if address in limits}

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        del capacity
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return ()
        self._event.clear()
        if self.broken is not None:
            raise self.broken
        given = list(self._queue)
        self._queue.clear()
        return given

    def wake(self) -> None:
        self._event.set()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if self.refuse_acknowledging:
            self.refuse_acknowledging -= 1
            raise BrokerUnavailable("not now")
        self.acknowledged += [one.receipt for one in deliveries]

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self.extending.set()
        await self.answer_extend.wait()
        return [one for one in deliveries if one.receipt in self.lost_on_extend]

    async def close(self, budget: float) -> None:
        await self.listener.ending(["s"], budget)
        self.closed = True


class ScriptedAdapter(Adapter):
    """Publish results come from ``script``: a list per call, then success. ``asked`` lists the calls."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions

    def __init__(self, url: BrokerURL | None = None, options: AdapterOptions | None = None) -> None:
        del url, options
        self.script: deque[list[BrokerError | None]] = deque()
        self.published: list[list[str]] = []
        self.copies: list[Outgoing] = []
        self.asked_to_publish = asyncio.Event()
        self.consumers: list[ScriptedConsumer] = []
        self.opened = asyncio.Event()
        self.asked: list[str] = []
        self.refused: dict[Address, BrokerError] = {}
        self.connect_errors: deque[Exception] = deque()
        self.connected = 0

    async def connect(self) -> None:
        await asyncio.sleep(0)
        if self.connect_errors:
            raise self.connect_errors.popleft()
        self.connected += 1

    async def close(self) -> None:
        return

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        self.asked += [f"create {one.address}" for one in specs]

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        del timeout
        self.published.append([one.id for one in messages])
        self.asked.append("publish")
        self.asked_to_publish.set()
        verdicts = self.script.popleft() if self.script else [None] * len(messages)
        self.copies += [one for one, verdict in zip(messages, verdicts, strict=False) if verdict is None]
        return verdicts

    async def lag(self, address: Address, group: str) -> Lag:
        self.asked.append(f"lag of {address}, {group}")
        return Lag(0)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        self.asked.append(f"consumer of {group}")
        consumer = ScriptedConsumer(self, listener)
        self.consumers.append(consumer)
        self.opened.set()
        return consumer

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        raise NotImplementedError
