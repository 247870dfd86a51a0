"""Whose code a process spends its CPU in: the stack is looked at every few milliseconds of CPU time.

A profiler that follows each call makes many small functions look dearer than they are; this one adds next to nothing.
A sample belongs to the innermost frame of msgbus, an adapter, a client library or the benchmark: what these call in the
standard library is theirs. A sample in the event loop's own code is the loop's.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgbus

if TYPE_CHECKING:
    from types import FrameType, TracebackType

EVERY: Final = 0.001
"""CPU seconds between two samples, where the kernel's own tick is not longer."""
CORE: Final = str(Path(msgbus.__file__).parent)
ADAPTERS: Final = "msgbus_"
BENCH: Final = str(Path(__file__).parent)
LIBRARIES: Final = {"redis", "hiredis", "aiormq", "pamqp", "aiokafka"}
STANDARD: Final = str(Path(signal.__file__).parent)


class Sampler:
    """Within the block, on this process's CPU time."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.samples: Counter[str] = Counter()
        self.of_core: Counter[str] = Counter()
        """The core's, by function."""

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
        self._before = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.cpu += time.process_time() - self._before

    def spent(self) -> dict[str, float]:
        """CPU seconds by whose they are."""
        return self._seconds(dict(self.samples))  # the next one may come at any time

    def spent_in_core(self) -> dict[str, float]:
        """CPU seconds of the core's functions, as ``module.function``."""
        return self._seconds(dict(self.of_core))

    def _seconds(self, samples: dict[str, int]) -> dict[str, float]:
        total = self.samples.total()
        return {what: self.cpu * count / total for what, count in samples.items()}

    def _sample(self, number: int, frame: FrameType | None) -> None:
        del number
        whose = None
        while frame is not None and (whose := owner(frame.f_code.co_filename)) is None:
            if frame.f_code.co_name == "_run_once":
                break
            frame = frame.f_back
        self.samples[whose or "loop"] += 1
        if frame is not None and whose == "core":
            self.of_core[f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"] += 1


@cache
def owner(filename: str) -> str | None:
    """Whose file this is; None for one of the standard library, whose time is its caller's."""
    path = Path(filename)
    if path.is_relative_to(CORE):
        return "core"
    if path.is_relative_to(BENCH):
        return "benchmark"
    if any(part.startswith(ADAPTERS) for part in path.parts):
        return "adapter"
    if LIBRARIES & {*path.parts}:
        return "client"
    return None
