"""What a scenario is given: brokers on one memory server, each with its own weather, and a record of all they did."""

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
"""The time of day at which every simulation begins."""
FINISH_TIMEOUT_SECONDS: Final = 3600.0
"""Seconds after which what is not finished is judged as it is."""
TAIL_SECONDS: Final = 60.0
"""Seconds in which what comes once too often has come: more than a lazy acknowledgement or a short retry takes."""


class _Severable(Protocol):
    def sever(self) -> None: ...


def memory() -> Callable[[], Adapter]:
    """Makes adapters of the memory server of an event loop. Looking the kind up takes longer than most of a run."""
    url = BrokerURL.parse("memory://")
    kind = adapter_type(url.scheme)
    return lambda: kind(url, kind.Options())


class Simulation:
    """One run of a scenario, decided by ``seed``. Everything in it happens in one event loop and in no time."""

    def __init__(self, seed: object, faults: Faults, adapter: Callable[[], Adapter]) -> None:
        """``adapter`` makes what each broker connects with; all of one event loop share a server."""
        self.seed = seed
        self.random = Random(f"scenario {seed}")
        """For what the scenario itself leaves to chance."""
        self.events: list[Event] = []
        self._faults = faults
        self._adapter = adapter
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._over = False
        self._ledger = Ledger()
        self._pen = EventWriter("simulation", self._write, self._tick)
        self._weathers: list[FaultSource] = []
        self._brokers: list[RecordedBroker] = []
        self._members: list[SimulatedMember] = []

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return self._loop.time()

    async def broker(self, name: str, group: str = "g") -> RecordedBroker:
        """A started broker, closed at the end. ``name`` is unique."""
        return await self._start(name, group, self._write)

    async def member(self, queue: str, callback: Callback, group: str = "g", **consuming: Any) -> SimulatedMember:
        """A member that joins now and is ready; ``consuming`` are consume()'s arguments."""
        member = SimulatedMember(f"member {len(self._members) + 1}", self._write, self._pen)
        self._members.append(member)
        member.broker = await self._start(member.name, group, member.write)
        subscription = await member.broker.consume(queue, callback, **consuming)
        await subscription.ready()
        return member

    def callback(self, *, seconds: float = 0.05, failing: float = 0.2) -> Callback:
        """A callback that takes up to ``seconds``, one time in twenty 40 times that, and fails as likely as told."""

        async def call(message: Message) -> None:
            del message
            chance = self.random.random
            await asyncio.sleep(chance() * seconds * (40 if chance() < 0.05 else 1))
            if chance() < failing:
                raise self.random.choice((ValueError("simulated"), RetryLater(2.0), Reject("simulated")))

        return call

    async def pause(self, seconds: float) -> None:
        """Up to ``seconds`` pass."""
        await asyncio.sleep(self.random.random() * seconds)

    def stop_faults(self) -> None:
        """From now on nothing fails but callbacks."""
        for weather in self._weathers:
            weather.faults = replace(NO_FAULTS, positions=weather.faults.positions)

    async def finish(self) -> None:
        """In calm weather, until everything is handled or dead; then all leave, and what they left behind comes."""
        self.stop_faults()
        settled = await self._ledger.settled(FINISH_TIMEOUT_SECONDS)
        await asyncio.sleep(TAIL_SECONDS)
        self._over = not settled  # what is stuck in somebody's hands is lost, although a goodbye would free it
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
        pen = EventWriter(name, write, self._tick)
        weather = FaultSource(self._faults, random, lambda fault: pen.fault(fault, pen.member))
        self._weathers.append(weather)
        adapter = FaultyAdapter(self._adapter(), weather)
        began = EPOCH_SECONDS + Random(f"clock of {name} {self.seed}").uniform(-1, 1) * self._faults.skew
        broker = RecordedBroker(adapter, pen, group=group, clock=lambda: began + self._loop.time(), random=random)
        self._brokers.append(broker)
        return await broker.__aenter__()

    def _write(self, event: Event) -> None:
        if self._over:
            return
        self.events.append(event)
        self._ledger.hear(event)

    def _tick(self) -> int:
        # No two events are of the same time: what came first is first.
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
        """The dead say nothing."""
        if not self._dead:
            self._write(event)

    async def leave(self) -> None:
        """In good order."""
        await self.broker.close()

    async def crash(self) -> None:
        """As by kill -9: what it holds goes back at once, and nothing it does arrives any more, or is written down."""
        with self._world.fault("crashed", self.name):
            self._dead = True
        cast("_Severable", cast("FaultyAdapter", self.broker.watched.inner).inner).sever()
        self.broker.grace = 0
        await self.broker.close()


class Ledger:
    """Which messages are promised to whom, and not handled or dead yet."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, None]] = defaultdict(dict)
        self._promised: dict[tuple[str, str], None] = {}
        self._ended: set[tuple[str, str, str]] = set()
        self._news = asyncio.Event()

    def hear(self, event: Event) -> None:
        """The next event."""
        if event.kind is Kind.EXISTS:
            self.groups[event.queue][event.group] = None
        elif event.kind is Kind.CONFIRMED:
            self._promised[event.queue, event.id] = None
        elif event.kind in {Kind.RETURNED, Kind.DEAD_LETTERED}:
            self._ended.add((event.queue, event.group, event.id))
            self._news.set()

    async def settled(self, patience: float) -> bool:
        """Wait until all has ended, for at most ``patience`` seconds; whether it has."""
        try:
            async with asyncio.timeout(patience):
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
