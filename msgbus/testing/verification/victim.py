"""Victim: a recorded member that is killed with messages in flight, as a process or by a severed adapter.

It finishes most messages at once and never those whose id is a multiple of three.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, cast

from msgbus.testing.probe import DEADLINE_SECONDS, Probe, within
from msgbus.testing.verification.events import read
from msgbus.testing.verification.recorder import Recorder
from msgbus.testing.verification.recording import EventWriter, recorded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from msgbus.broker import Broker
    from msgbus.message import Message
    from msgbus.testing.verification.events import Event
    from msgbus.testing.verification.recording import RecordedBroker

__all__ = ["NAME", "Victim", "process_victim", "severed_victim"]

NAME = "victim"
"""Name of the member in its recording."""
FULL = 3
"""Number of callbacks that never return."""


class Victim(Protocol):
    """A member that is running and will be killed."""

    async def until_full(self) -> None:
        """Wait until it has handled some messages and others are in flight."""

    async def kill(self) -> None:
        """Kill the member at once, without a drain."""

    def events(self) -> list[Event]:
        """Return its recorded events; call it after ``kill()``."""
        ...


@asynccontextmanager
async def process_victim(url: str, queue: str, group: str) -> AsyncGenerator[Victim]:
    """Run this module as a process of its own, to be ended by SIGKILL.

    Its command line is ``python -m msgbus.testing.verification.victim URL QUEUE GROUP FILE``.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, url, queue, group, str(path)), stdout=asyncio.subprocess.PIPE
        )
        try:
            victim = _Process(process, path)
            await victim.until("ready")
            yield victim
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@asynccontextmanager
async def severed_victim(url: str, queue: str, group: str) -> AsyncGenerator[Victim]:
    """Consume with a broker of this process whose adapter can be severed."""
    events: list[Event] = []
    async with recorded(url, EventWriter(NAME, events.append), group=group, grace=0) as broker:
        yield _Severed(broker, await _take_part(broker, queue), events)


class _Process:
    def __init__(self, process: asyncio.subprocess.Process, path: Path) -> None:
        self._process = process
        self._path = path

    async def until(self, word: str) -> None:
        assert self._process.stdout is not None
        async with within(DEADLINE_SECONDS, f"the victim's process being {word}"):
            assert (await self._process.stdout.readline()).decode().strip() == word

    async def until_full(self) -> None:
        await self.until("full")

    async def kill(self) -> None:
        self._process.kill()
        assert await self._process.wait() == -9

    def events(self) -> list[Event]:
        return read(self._path)


class _Severable(Protocol):
    def sever(self) -> None: ...


class _Severed:
    def __init__(self, broker: RecordedBroker, probe: Probe, events: list[Event]) -> None:
        self._broker = broker
        self._probe = probe
        self._events = events

    async def until_full(self) -> None:
        await _until_full(self._probe)

    async def kill(self) -> None:
        cast("_Severable", self._broker.watched.inner).sever()

    def events(self) -> list[Event]:
        return self._events


async def _take_part(broker: Broker, queue: str) -> Probe:
    probe = Probe()
    probe.hold(_hangs)
    subscription = await broker.consume(queue, probe)
    await subscription.ready()
    return probe


def _hangs(message: Message) -> bool:
    return message.id.isdecimal() and int(message.id) % 3 == 0


async def _until_full(probe: Probe) -> None:
    await probe.until(lambda: probe.running >= FULL and bool(probe.handled), "the victim having messages in flight")


async def _serve(url: str, queue: str, group: str, file: str) -> None:
    async with recorded(url, EventWriter(NAME, Recorder(Path(file))), group=group) as broker:
        probe = await _take_part(broker, queue)
        _say("ready")
        await _until_full(probe)
        _say("full")
        await asyncio.Event().wait()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
