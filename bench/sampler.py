"""Sampling profiler by owner: it samples the stack every few milliseconds of CPU time.

A profiler that traces each call makes many small functions look more expensive than they are; this one adds almost
nothing. A sample belongs to the innermost frame of msgbus, an adapter, a client library or the benchmark, with what
that frame calls in the standard library. A sample in the event loop's own code belongs to the loop.
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

SAMPLE_INTERVAL_SECONDS: Final = 0.001
"""CPU seconds between two samples, where the kernel's own tick is not longer."""
CORE: Final = str(Path(msgbus.__file__).parent)
ADAPTERS: Final = "msgbus_"
BENCH: Final = str(Path(__file__).parent)
LIBRARIES: Final = {"redis", "hiredis", "aio_pika", "aiormq", "pamqp", "aiokafka"}
STANDARD: Final = str(Path(signal.__file__).parent)


class Sampler:
    """Samples this process within a ``with`` block."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.samples: Counter[str] = Counter()
        self.of_core: Counter[str] = Counter()
        """Samples in the core, by function."""

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_INTERVAL_SECONDS, SAMPLE_INTERVAL_SECONDS)
        self._before = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.cpu += time.process_time() - self._before

    def spent(self) -> dict[str, float]:
        """Return the CPU seconds by owner."""
        return self._seconds(dict(self.samples))  # a copy: the next sample may come at any time

    def spent_in_core(self) -> dict[str, float]:
        """Return the CPU seconds of the core by function, as ``module.function``."""
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
    """Return the owner of a file; None for the standard library, whose time is its caller's."""
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
