"""Processes of a state: members and operators, each with its recording and its log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from tests.support.upgrade.states import State

__all__ = ["CommandFailed", "Crew", "Member", "Operator", "UpgradeFailed"]

PROGRAM: Final = Path(__file__).with_name("process_of_a_state.py")
PATIENCE_SECONDS: Final = 90.0
"""For a start, a command, or an end. An end takes 25 s of grace at most."""

LINE_BYTES: Final = 2**26
"""Longest line of an operator: all dead letters, with tracebacks."""


class UpgradeFailed(Exception):
    """Something did not happen in time, or a process ended by itself."""


class CommandFailed(Exception):
    """An operator's command raised; ``kind`` is the error's name in its state."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Crew:
    """All processes of one run on one server; on leaving, those that still run are killed."""

    def __init__(self, url: str, queues: tuple[str, ...], folder: Path) -> None:
        """Make a crew; its files are in ``folder``."""
        self.folder = folder
        self.down = folder / "downstream-is-off"
        """While this file exists, the callbacks' downstream is off."""
        self._url = url
        self._queues = queues
        self._numbers = count(1)
        self._processes: list[_Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(one.destroy() for one in self._processes))

    async def member(self, state: State) -> Member:
        """Start a member; return when it consumes."""
        return await self._started(Member(state, f"{state.name}-member-{next(self._numbers)}", self.folder))

    async def operator(self, state: State) -> Operator:
        """Start an operator; return when it is connected."""
        return await self._started(Operator(state, f"{state.name}-operator", self.folder))

    def recordings(self) -> list[Path]:
        """Return the files of what all of them recorded."""
        return [one.recording for one in self._processes if one.recording.exists()]

    def errors(self) -> list[str]:
        """Return the errors that msgbus or asyncio logged, but for those of a pause."""
        return [
            f"{one.name} logged: {line}"
            for one in self._processes
            for line in one.log.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith(("ERROR msgbus", "ERROR asyncio")) and ": paused: " not in line
        ]

    async def _started(self, process: _P) -> _P:
        self._processes.append(process)
        await process.start(self._url, str(self.down), *self._queues)
        return process


class _Process:
    role = ""

    def __init__(self, state: State, name: str, folder: Path) -> None:
        self.state = state
        self.name = name
        self.recording = folder / f"{name}.jsonl"
        self.log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, url: str, down: str, *queues: str) -> None:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(str(self.state.python), "-I", str(PROGRAM), self.role, self.name, url, str(self.recording), down),
                *queues,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES,
            )
        site = await self.line("starting")
        if Path(site) != self.state.site:
            raise UpgradeFailed(f"{self.name} runs msgbus of {site}, not of {self.state.site}")
        if (word := await self.line("being ready")) != "ready":
            raise UpgradeFailed(f"{self.name} printed {word!r}")

    async def line(self, what: str) -> str:
        assert self.process.stdout is not None
        async with self._within(what):
            line = await self.process.stdout.readline()
        if not line:
            raise UpgradeFailed(f"{self.name} ended by itself ({what}):\n{self._tail()}")
        return line.decode().rstrip("\n")

    async def ended(self) -> None:
        """Wait for its end. Raises UpgradeFailed if it ends in any other way than in good order."""
        async with self._within("ending"):
            code = await self.process.wait()
        if code:
            raise UpgradeFailed(f"{self.name} ended with exit code {code}:\n{self._tail()}")

    async def destroy(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @contextlib.asynccontextmanager
    async def _within(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield
        except TimeoutError:
            raise UpgradeFailed(f"{self.name}: {what} took more than {PATIENCE_SECONDS:g} s:\n{self._tail()}") from None

    def _tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


_P = TypeVar("_P", bound=_Process)


class Member(_Process):
    """A member of the group."""

    role = "member"

    async def stop(self) -> None:
        """End it in good order, by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        await self.ended()

    def freeze(self) -> None:
        """Stop it where it is, by SIGSTOP: it keeps its connections and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        await self.process.wait()


class Operator(_Process):
    """Creates queues, publishes, and looks after dead letters."""

    role = "operator"

    def __init__(self, state: State, name: str, folder: Path) -> None:
        super().__init__(state, name, folder)
        self._commands = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def start(self, url: str, down: str, *queues: str) -> None:
        """Start it; return when it is connected."""
        await super().start(url, down, *queues)
        self._reading = asyncio.ensure_future(self._read())

    async def create(self, queue: str, partitions: int | None) -> None:
        """Create a queue with the group."""
        await self._do("create", queue=queue, partitions=partitions)

    async def publish(self, queue: str, messages: list[dict[str, Any]]) -> None:
        """Publish messages. Raises UpgradeFailed if one was not confirmed."""
        results = await self._do("publish", queue=queue, messages=messages)
        if any(results):
            raise UpgradeFailed(f"{self.name}: not confirmed: {[one for one in results if one][:3]}")

    async def letters(self, queue: str) -> list[dict[str, Any]]:
        """Return the dead letters as JSON."""
        found: list[dict[str, Any]] = await self._do("letters", queue=queue)
        return found

    async def redrive(self, queue: str, *, rate: float | None = None, limit: int | None = None) -> tuple[int, int]:
        """Redrive dead letters, so many a second; return how many were taken and have arrived."""
        taken, arrived = await self._do("redrive", queue=queue, rate=rate, limit=limit)
        return taken, arrived

    async def waiting(self, queues: list[str]) -> dict[str, int]:
        """Return how many messages wait in each queue, and in each of the group's retry queues."""
        waiting: dict[str, int] = await self._do("waiting", queues=queues)
        return waiting

    async def leave(self) -> None:
        """End it in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.ended()

    async def destroy(self) -> None:
        """Kill it, if it still runs."""
        await super().destroy()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _do(self, what: str, **arguments: Any) -> Any:
        number = next(self._commands)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps([number, what, arguments])}\n".encode())
        async with self._within(what):
            return await answer

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["number"])
            if "error" in answer:
                waiting.set_exception(CommandFailed(answer["error"], answer["text"]))
            else:
                waiting.set_result(answer["result"])
        for waiting in self._waiting.values():
            waiting.set_exception(UpgradeFailed(f"{self.name} ended:\n{self._tail()}"))
