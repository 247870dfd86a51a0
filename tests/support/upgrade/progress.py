"""Progress of a run, read from the recordings while they are written."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from msgbus.testing.verification import Kind
from tests.support.upgrade.processes import UpgradeFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.upgrade.processes import Crew

__all__ = ["Progress"]


class Progress:
    """What the processes of a crew have done so far."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._read: dict[Path, int] = defaultdict(int)
        self.handled: set[str] = set()
        self.handled_by: dict[str, int] = defaultdict(int)
        """How many each member has handled."""
        self.running: dict[str, set[str]] = defaultdict(set)
        """Messages whose callback runs, of each member."""
        self.dead_by: dict[str, str] = {}
        """Who wrote the latest dead letter of each message."""
        self.redriven_by: dict[str, str] = {}
        self.parked: dict[str, set[str]] = defaultdict(set)
        """Messages that each member sent to a retry queue without an attempt: delayed ones, or failed in a pause."""

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 90) -> None:
        """Wait until it holds.

        Raises:
            UpgradeFailed: It does not hold after so many seconds.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._holds(condition):
                    await asyncio.sleep(0.1)  # a recording does not announce what is written
        except TimeoutError:
            raise UpgradeFailed(f"{what}: not within {seconds:g} s") from None

    def look(self) -> None:
        """Read what has been recorded since the last time."""
        for path in self._crew.recordings():
            with path.open("rb") as file:
                file.seek(self._read[path])
                lines = file.read().split(b"\n")
            self._read[path] += sum(len(line) + 1 for line in lines[:-1])
            for line in lines[:-1]:
                self._hear(json.loads(line))

    def _holds(self, condition: Callable[[], object]) -> bool:
        self.look()
        return bool(condition())

    def _hear(self, event: dict[str, Any]) -> None:
        kind, id, by = event["kind"], event.get("id", ""), event["member"]
        if kind == Kind.CALLED:
            self.running[by].add(id)
        elif kind in {Kind.RETURNED, Kind.RAISED, Kind.CANCELLED}:
            self.running[by].discard(id)
            if kind == Kind.RETURNED:
                self.handled.add(id)
                self.handled_by[by] += 1
        elif kind == Kind.DEAD_LETTERED:
            self.dead_by[id] = by
        elif kind == Kind.REDRIVEN:
            self.redriven_by[id] = by
        elif kind == Kind.RETRIED and event.get("attempt") == 1:
            self.parked[by].add(id)
