"""Meter of a time: elapsed seconds, the CPU of this process, and the CPU of the server's processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures from start() to stop(), in seconds."""

    def __init__(self, server: Sequence[int], *, fine: bool = False) -> None:
        """Measure the server's CPU in ticks of 10 ms; ``fine`` in microseconds, without threads that have ended."""
        self.elapsed = self.client_cpu = self.server_cpu = 0.0
        self._server = server
        self._used = _scheduled if fine else cpu_of

    def start(self) -> None:
        """Start to measure."""
        self._server_before = self._used(self._server)
        self._cpu_before = time.process_time()
        self._before = time.perf_counter()

    def stop(self) -> None:
        """Stop to measure."""
        self.elapsed = time.perf_counter() - self._before
        self.client_cpu = time.process_time() - self._cpu_before
        self.server_cpu = self._used(self._server) - self._server_before

    def take(self, other: Meter) -> None:
        """Copy the values of another meter."""
        self.elapsed, self.client_cpu, self.server_cpu = other.elapsed, other.client_cpu, other.server_cpu


def cpu_of(pids: Sequence[int]) -> float:
    """Return the CPU seconds of these processes so far, with children that have ended; a missing process counts 0."""
    return sum(_ticks(pid) for pid in pids) * TICK


def _ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


def _scheduled(pids: Sequence[int]) -> float:
    return sum(_nanoseconds(thread) for pid in pids for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _nanoseconds(thread: Path) -> int:
    try:
        return int(thread.read_text(encoding="ascii").split()[0])
    except OSError:
        return 0


def resident() -> float:
    """Return the megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
