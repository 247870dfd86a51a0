"""An adapter whose server fails now and then, by a seed: slow answers, lost answers, refused calls, broken connections.

It stands between the recording and a real adapter. Whatever it does, a real network does too: a call is not carried
out, or it is and its answer is lost.
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
    """How likely each fault is, of one call; and how slow calls are."""

    publish_refused: float = 0.02
    publish_answer_lost: float = 0.02
    """The messages have arrived; the answer is BrokerUnavailable(uncertain=True)."""
    receive_broken: float = 0.005
    """The connection breaks, before or after messages were taken."""
    acknowledge_refused: float = 0.02
    acknowledge_answer_lost: float = 0.02
    slowness: float = 0.02
    """Seconds that a call takes at most."""
    skew: float = 7200.0
    """Seconds by which each broker's time of day is off at most, one way or the other."""
    positions: bool = False
    """Whether acknowledging moves a position. Then a copy that cannot be published holds up what was handled above it,
    which may come again: a refusal explains that, until a publish to the same place succeeds."""


NO_FAULTS: Final = Faults(
    publish_refused=0,
    publish_answer_lost=0,
    receive_broken=0,
    acknowledge_refused=0,
    acknowledge_answer_lost=0,
)


class FaultSource:
    """What strikes one member, drawn by a seed.

    ``fault`` notes what may make a message come twice, by name, for as long as it lasts. An acknowledgement whose
    answer was lost and, but for positions, a call that was refused explain nothing: the core has to try again.
    """

    def __init__(self, faults: Faults, random: Random, fault: Callable[[str], AbstractContextManager[object]]) -> None:
        self.faults = faults
        self._random = random
        self._fault = fault
        self._refused: dict[Address, ExitStack] = {}

    async def slow(self) -> None:
        """A call takes its time."""
        await asyncio.sleep(self._random.random() * self.faults.slowness)

    def strikes(self, likely: float, name: str = "") -> bool:
        """Whether it happens this time; with a ``name`` it explains repetitions."""
        happens = self._random.random() < likely
        if happens and name:
            with self._fault(name):
                pass  # it is over at once; what was in hand then is explained by it
        return happens

    def refused(self, messages: Sequence[Outgoing]) -> None:
        """These could not be published."""
        for address in {one.address: None for one in messages} if self.faults.positions else ():
            if address not in self._refused:
                self._refused[address] = ExitStack()
                self._refused[address].enter_context(self._fault("publish refused"))

    def published(self, messages: Sequence[Outgoing]) -> None:
        """These could."""
        for one in messages:
            if (trouble := self._refused.pop(one.address, None)) is not None:
                trouble.close()


class FaultyAdapter(Adapter):
    """``inner``, in any weather. Letters are read in good weather only."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[AdapterOptions]] = AdapterOptions

    def __init__(self, inner: Adapter, weather: FaultSource) -> None:
        self.inner = inner
        self.extend_interval_seconds = inner.extend_interval_seconds
        self.change_delay_seconds = inner.change_delay_seconds
        self.supported_starts = inner.supported_starts
        self._weather = weather

    async def connect(self) -> None:
        """See Adapter."""
        await self._weather.slow()
        await self.inner.connect()

    async def close(self) -> None:
        """See Adapter."""
        await self.inner.close()

    async def create_queues(self, specs: Sequence[QueueSpec]) -> None:
        """See Adapter."""
        await self._weather.slow()
        await self.inner.create_queues(specs)

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter."""
        faults = self._weather.faults
        await self._weather.slow()
        if self._weather.strikes(faults.publish_refused):
            self._weather.refused(messages)
            return [BrokerUnavailable("simulated: no connection")] * len(messages)
        verdicts = await self.inner.publish(messages, timeout)
        await self._weather.slow()
        self._weather.published(messages)
        if self._weather.strikes(faults.publish_answer_lost, "publish answer lost"):
            return [BrokerUnavailable("simulated: no answer", uncertain=True)] * len(messages)
        return verdicts

    async def lag(self, address: Address, group: str) -> Lag:
        """See Adapter."""
        await self._weather.slow()
        return await self.inner.lag(address, group)

    async def open_consumer(self, group: str, listener: SessionListener) -> Consumer:
        """See Adapter."""
        await self._weather.slow()
        return FaultyConsumer(await self.inner.open_consumer(group, listener), self._weather)

    async def open_dead_letters(self, address: Address) -> DeadLetterStore:
        """See Adapter."""
        return await self.inner.open_dead_letters(address)


class FaultyConsumer(Consumer):
    """A consumer in any weather."""

    def __init__(self, inner: Consumer, weather: FaultSource) -> None:
        self._inner = inner
        self._weather = weather

    async def subscribe(
        self, limits: Mapping[Address, int], newest: AbstractSet[Address] = frozenset()
    ) -> AbstractSet[Address]:
        """See Consumer."""
        await self._weather.slow()
        return await self._inner.subscribe(limits, newest)

    async def receive(self, capacity: Mapping[Address, int], timeout: float) -> Sequence[Delivery]:
        """See Consumer."""
        broken = self._weather.strikes(self._weather.faults.receive_broken, "connection broken")
        if broken and self._weather.strikes(0.5):
            raise BrokerUnavailable("simulated: the connection broke before anything came")
        deliveries = await self._inner.receive(capacity, timeout)
        if broken:
            raise BrokerUnavailable("simulated: the connection broke with messages on their way")
        return deliveries

    def wake(self) -> None:
        """See Consumer."""
        self._inner.wake()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Consumer."""
        faults = self._weather.faults
        await self._weather.slow()
        if self._weather.strikes(faults.acknowledge_refused):
            raise BrokerUnavailable("simulated: no connection")
        await self._inner.acknowledge(deliveries)
        await self._weather.slow()
        if self._weather.strikes(faults.acknowledge_answer_lost):
            raise BrokerUnavailable("simulated: no answer")

    async def extend(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See Consumer."""
        return await self._inner.extend(deliveries)

    async def close(self, budget: float) -> None:
        """See Consumer."""
        await self._inner.close(budget)
