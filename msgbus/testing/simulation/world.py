"""World of a scenario: brokers on one memory server, each with its own faults, and the recording of all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from msgbus.adapter.url import BrokerURL
from msgbus.registry import adapter_type
from msgbus.retry import Reject, RetryLater
from msgbus.testing.simulation.faulty import NO_FAULTS, Faults, FaultSource, FaultyAdapter
from msgbus.testing.verification import EventWriter, Kind, RecordedBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus.adapter import Adapter
    from msgbus.message import Message
    from msgbus.subscription import Callback
    from msgbus.testing.verification import Event

__all__ = ["SimulatedMember", "Simulation", "memory"]

EPOCH_SECONDS: Final = 1_700_000_000.0
"""Time of day at which every simulation begins (seconds since 1970)."""
FINISH_TIMEOUT_SECONDS: Final = 3600.0
"""After this time a run is checked although messages are unfinished."""
TAIL_SECONDS: Final = 60.0
"""How long duplicates are waited for: longer than a delayed acknowledgement or a short retry takes."""


class _Severable(Protocol):
    def sever(self) -> None: ...


def memory() -> Callable[[], Adapter]:
    """Return a maker of memory adapters; the type is looked up once, which takes longer than most of a run."""
    url = BrokerURL.parse("memory://")
    kind = adapter_type(url.scheme)
    return lambda: kind(url, kind.Options())


class Simulation:
    """One run of a scenario, determined by ``seed``, in one event loop and in virtual time."""

    def __init__(self, seed: object, faults: Faults, adapter: Callable[[], Adapter]) -> None:
        """Make a simulation in the running event loop.

        Args:
            seed: Decides the faults, and all random numbers.
            faults: Which faults happen, and how often.
            adapter: Makes each broker's adapter. The adapters of one event loop share a server.
        """
        self.seed = seed
        self.random = Random(f"scenario {seed}")
        """Random numbers for the scenario itself."""
        self.events: list[Event] = []
        self._faults = faults
        self._adapter = adapter
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._over = False
        self._ledger = Ledger()
        self._writer = EventWriter("simulation", self._write, self._tick)
        self._fault_sources: list[FaultSource] = []
        self._brokers: list[RecordedBroker] = []
        self._members: list[SimulatedMember] = []

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    async def broker(self, name: str, group: str = "g") -> RecordedBroker:
        """Start a broker.

        Args:
            name: A name for the recording, unique in the run.
            group: Default group of the broker.

        Returns:
            The broker; it is closed at the end of the run.
        """
        return await self._start(name, group, self._write)

    async def member(self, queue: str, callback: Callback, group: str = "g", **consuming: Any) -> SimulatedMember:
        """Start a member, and wait until it is ready.

        Args:
            queue: The queue to consume.
            callback: The callback.
            group: The group.
            **consuming: Further arguments of ``consume()``.

        Returns:
            The member.
        """
        member = SimulatedMember(f"member {len(self._members) + 1}", self._write, self._writer)
        self._members.append(member)
        member.broker = await self._start(member.name, group, member.write)
        subscription = await member.broker.consume(queue, callback, **consuming)
        await subscription.ready()
        return member

    def callback(self, *, seconds: float = 0.05, failing: float = 0.2) -> Callback:
        """Return a callback that takes a random time and fails at random.

        Args:
            seconds: Virtual seconds that a call takes at most; in one of 20 calls 40 times as many.
            failing: The fraction of calls that fail, uniform in [0, 1).
        """

        async def call(message: Message) -> None:
            del message
            chance = self.random.random
            await asyncio.sleep(chance() * seconds * (40 if chance() < 0.05 else 1))
            if chance() < failing:
                raise self.random.choice((ValueError("simulated"), RetryLater(2.0), Reject("simulated")))

        return call

    async def pause(self, seconds: float) -> None:
        """Wait for a random time.

        Args:
            seconds: Virtual seconds to wait at most.
        """
        await asyncio.sleep(self.random.random() * seconds)

    def stop_faults(self) -> None:
        """Inject no more faults; only callbacks fail from now on."""
        for fault_source in self._fault_sources:
            fault_source.faults = replace(NO_FAULTS, positions=fault_source.faults.positions)

    async def finish(self) -> None:
        """End the run: stop faults, wait until all messages are handled or dead-lettered, then let all members leave.

        Afterwards a new member of each group receives the messages that were left.
        """
        self.stop_faults()
        settled = await self._ledger.settled(FINISH_TIMEOUT_SECONDS)
        await asyncio.sleep(TAIL_SECONDS)
        self._over = (
            not settled
        )  # a stalled in-flight delivery counts as lost, although closing its member would release it
        for broker in self._brokers:
            await broker.close()
        for queue, groups in self._ledger.groups.items():
            for group in groups:
                await self._sweep(queue, group)

    async def _sweep(self, queue: str, group: str) -> None:
        member = await self.member(queue, _at_once, group)
        await asyncio.sleep(TAIL_SECONDS)
        await member.leave()

    async def _start(self, name: str, group: str, write: Callable[[Event], None]) -> RecordedBroker:
        random = Random(f"{name} {self.seed}")
        writer = EventWriter(name, write, self._tick)
        fault_source = FaultSource(self._faults, random, lambda fault: writer.fault(fault, writer.member))
        self._fault_sources.append(fault_source)
        adapter = FaultyAdapter(self._adapter(), fault_source)
        began = EPOCH_SECONDS + Random(f"clock of {name} {self.seed}").uniform(-1, 1) * self._faults.skew
        broker = RecordedBroker(adapter, writer, group=group, clock=lambda: began + self._loop.time(), random=random)
        self._brokers.append(broker)
        return await broker.__aenter__()

    def _write(self, event: Event) -> None:
        if self._over:
            return
        self.events.append(event)
        self._ledger.hear(event)

    def _tick(self) -> int:
        # No two events have the same time: their order is kept.
        self._last = max(self._last + 1, round(self._loop.time() * 1e9))
        return self._last


class SimulatedMember:
    """A member of a simulation."""

    broker: RecordedBroker

    def __init__(self, name: str, write: Callable[[Event], None], world: EventWriter) -> None:
        self.name = name
        self._write = write
        self._world = world
        self._dead = False

    def write(self, event: Event) -> None:
        """Record an event, unless the member has crashed.

        Args:
            event: The event.
        """
        if not self._dead:
            self._write(event)

    async def leave(self) -> None:
        """Leave with a drain."""
        await self.broker.close()

    async def crash(self) -> None:
        """Crash as by kill -9: in-flight deliveries go back at once, and nothing more is sent or recorded."""
        with self._world.fault("crashed", self.name):
            self._dead = True
        cast("_Severable", cast("FaultyAdapter", self.broker.watched.inner).inner).sever()
        self.broker.grace = 0
        await self.broker.close()


class Ledger:
    """Messages that were confirmed, per group, and which of them are handled or dead-lettered."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, None]] = defaultdict(dict)
        self._promised: dict[tuple[str, str], None] = {}
        self._ended: set[tuple[str, str, str]] = set()
        self._news = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Take the next event into account."""
        if event.kind is Kind.EXISTS:
            self.groups[event.queue][event.group] = None
        elif event.kind is Kind.CONFIRMED:
            self._promised[event.queue, event.id] = None
        elif event.kind in {Kind.RETURNED, Kind.DEAD_LETTERED}:
            self._ended.add((event.queue, event.group, event.id))
            self._news.set()

    async def settled(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until every message is handled or dead-lettered; tell whether it is."""
        try:
            async with asyncio.timeout(timeout):
                while not self._complete():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _complete(self) -> bool:
        return all((queue, group, id) in self._ended for queue, id in self._promised for group in self.groups[queue])


async def _at_once(message: Message) -> None:
    del message
