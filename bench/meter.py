"""What a stretch of time cost: elapsed, this process's CPU, and that of the server's processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """Started at the first and stopped at the last thing that counts; seconds."""

    def __init__(self, server: Sequence[int], *, fine: bool = False) -> None:
        """``fine``: the server's CPU to the microsecond, not to its ticks of 10 ms; threads that end are lost then."""
        self.elapsed = self.client_cpu = self.server_cpu = 0.0
        self._server = server
        self._used = _scheduled if fine else cpu_of

    def start(self) -> None:
        """From here on it counts."""
        self._server_before = self._used(self._server)
        self._cpu_before = time.process_time()
        self._before = time.perf_counter()

    def stop(self) -> None:
        """Up to here it counted."""
        self.elapsed = time.perf_counter() - self._before
        self.client_cpu = time.process_time() - self._cpu_before
        self.server_cpu = self._used(self._server) - self._server_before

    def take(self, other: Meter) -> None:
        """What another has measured."""
        self.elapsed, self.client_cpu, self.server_cpu = other.elapsed, other.client_cpu, other.server_cpu


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds that these processes have used so far, children that ended included; one that is gone counts 0."""
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
    """Megabytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
