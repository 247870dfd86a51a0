"""Adapter with injected faults: slow calls, refused calls, lost answers and broken connections, drawn by a seed.

It wraps a real adapter, and the recording wraps it. It does only what a real network does: a call is not carried out,
or it is carried out and its answer is lost.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from msgbus.adapter import Adapter, Capabilities, Consumer
from msgbus.adapter.options import AdapterOptions
from msgbus.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from random import Random

    from msgbus.adapter import DeadLetterStore, Lag, QueueSpec, SessionListener
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery, Outgoing
    from msgbus.errors import BrokerError

__all__ = ["NO_FAULTS", "FaultSource", "Faults", "FaultyAdapter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probability of each fault per call, and how slow calls are."""

    publish_refused: float = 0.02
    publish_answer_lost: float = 0.02
    """The messages arrive; the publish result is BrokerUnavailable(uncertain=True)."""
    receive_broken: float = 0.005
    """The connection breaks, before or after messages were received."""
    acknowledge_refused: float = 0.02
    acknowledge_answer_lost: float = 0.02
    slowness: float = 0.02
    """Seconds that the answer to a call is delayed at most."""
    skew: float = 7200.0
    """Seconds by which each broker's time of day is wrong at most, in either direction."""
    positions: bool = False
    """Whether acknowledging commits a position. A copy that cannot be published then blocks the commit of the messages
    above it, which may be redelivered: a refusal explains that until a publish to the same queue succeeds."""


NO_FAULTS: Final = Faults(
    publish_refused=0,
    publish_answer_lost=0,
    receive_broken=0,
    acknowledge_refused=0,
    acknowledge_answer_lost=0,
)


class FaultSource:
    """Faults of one member, drawn by a seed.

    ``fault`` records, by name and for as long as it lasts, a fault that may cause a redelivery. A lost answer to an
    acknowledgement explains no redelivery, and a refused call only where positions are committed: the core has to try
    again.
    """

    def __init__(self, faults: Faults, random: Random, fault: Callable[[str], AbstractContextManager[object]]) -> None:
        self.faults = faults
        self._random = random
        self._fault = fault
        self._refused: dict[Address, ExitStack] = {}

    async def slow(self) -> None:
        """Delay a call."""
        await asyncio.sleep(self._random.random() * self.faults.slowness)

    def strikes(self, likely: float, name: str = "") -> bool:
        """Draw whether a fault happens now; one with a ``name`` is recorded and explains redeliveries."""
        happens = self._random.random() < likely
        if happens and name:
            with self._fault(name):
                pass  # it is over at once; it explains redeliveries of the deliveries then in flight
        return happens

    def refused(self, messages: Sequence[Outgoing]) -> None:
        """Record the fault of the queues of ``messages``, whose publish was refused."""
        for address in {one.address: None for one in messages} if self.faults.positions else ():
            if address not in self._refused:
                self._refused[address] = ExitStack()
                self._refused[address].enter_context(self._fault("publish refused"))

    def published(self, messages: Sequence[Outgoing]) -> None:
        """End the recorded faults of the queues of ``messages``, whose publish succeeded."""
        for one in messages:
            if (trouble := self._refused.pop(one.address, None)) is not None:
                trouble.close()


class FaultyAdapter(Adapter):
    """``inner`` with injected faults; none while dead letters are read."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions

    def __init__(self, inner: Adapter, fault_source: FaultSource) -> None:
        self.inner = inner
        self.extend_interval_seconds = inner.extend_interval_seconds
        self.change_delay_seconds = inner.change_delay_seconds
        self.supported_starts = inner.supported_starts
        self._fault_source = fault_source

    async def connect(self) -> None:
        """Implement :meth:`Adapter.connect`."""
        await self._fault_source.slow()
        await self.inner.connect()

    async def close(self) -> None:
        """Implement :meth:`Adapter.close`."""
        await self.inner.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """Implement :meth:`Adapter.create_queues`."""
        await self._fault_source.slow()
        await self.inner.create_queues(specs)

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Implement :meth:`Adapter.publish`."""
        faults = self._fault_source.faults
        await self._fault_source.slow()
        if self._fault_source.strikes(faults.publish_refused):
            self._fault_source.refused(messages)
            return [BrokerUnavailable("simulated: no connection")] * len(messages)
        verdicts = await self.inner.publish(messages, timeout)
        await self._fault_source.slow()
        self._fault_source.published(messages)
        if self._fault_source.strikes(faults.publish_answer_lost, "publish answer lost"):
            return [BrokerUnavailable("simulated: no answer", uncertain=True)] * len(messages)
        return verdicts

    async def lag(self, address: Address, group: str) -> Lag:
        """Implement :meth:`Adapter.lag`."""
        await self._fault_source.slow()
        return await self.inner.lag(address, group)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """Implement :meth:`Adapter.open_consumer`."""
        await self._fault_source.slow()
        return FaultyConsumer(await self.inner.open_consumer(group, listener), self._fault_source)

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """Implement :meth:`Adapter.open_dead_letters`."""
        return await self.inner.open_dead_letters(address)


class FaultyConsumer(Consumer):
    """A consumer with injected faults."""

    def __init__(self, inner: Consumer, fault_source: FaultSource) -> None:
        self._inner = inner
        self._fault_source = fault_source

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> Mapping[Address, BrokerError]:
        """Implement :meth:`Consumer.subscribe`."""
        await self._fault_source.slow()
        return await self._inner.subscribe(limits, newest)

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.receive`."""
        broken = self._fault_source.strikes(self._fault_source.faults.receive_broken, "connection broken")
        if broken and self._fault_source.strikes(0.5):
            raise BrokerUnavailable("simulated: the connection broke before anything came")
        deliveries = await self._inner.receive(capacity, timeout)
        if broken:
            raise BrokerUnavailable("simulated: the connection broke with messages on their way")
        return deliveries

    def wake(self) -> None:
        """Implement :meth:`Consumer.wake`."""
        self._inner.wake()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Implement :meth:`Consumer.acknowledge`."""
        faults = self._fault_source.faults
        await self._fault_source.slow()
        if self._fault_source.strikes(faults.acknowledge_refused):
            raise BrokerUnavailable("simulated: no connection")
        await self._inner.acknowledge(deliveries)
        await self._fault_source.slow()
        if self._fault_source.strikes(faults.acknowledge_answer_lost):
            raise BrokerUnavailable("simulated: no answer")

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Implement :meth:`Consumer.extend`."""
        return await self._inner.extend(deliveries)

    async def close(self, budget: float) -> None:
        """Implement :meth:`Consumer.close`."""
        await self._inner.close(budget)
