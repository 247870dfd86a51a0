"""Cases of starting: the imports, and the time until the first callback."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgbus
from bench.cases.case import nothing_pending, warm
from bench.errand import send
from bench.work import WorkError

if TYPE_CHECKING:
    from bench.cases.case import Job

BASE: Final = "import asyncio, pydantic; pydantic.BaseModel"
OURS: Final = """import asyncio, pydantic; pydantic.BaseModel
import msgbus, sys
late = {"pydantic_settings", "msgbus.settings"}
clients = {"redis", "hiredis", "aiormq", "pamqp", "aio_pika", "aiokafka"}
adapters = {"msgbus_memory", "msgbus_redis", "msgbus_rabbitmq", "msgbus_kafka"}
sys.exit(", ".join(sorted((late | clients | adapters) & {*sys.modules})) or None)
"""


async def first_message(job: Job) -> None:
    """Measure the time from the start of a process to its first callback, with a message on the server; the median."""
    elapsed: list[float] = []
    cpu: list[float] = []
    for _ in range(job.messages):
        await warm(job)
        begun = time.monotonic()
        told = await send("first", job.order, job.contender.place)
        elapsed.append(told["at"] - begun)
        cpu.append(told["cpu"])
    await nothing_pending(job)
    job.extra["client CPU ms"] = statistics.median(cpu) * 1000
    job.tell(statistics.median(elapsed) * 1000, "ms")


async def importing(job: Job) -> None:
    """Measure `import msgbus` beyond an interpreter that imports pydantic and asyncio; the median of pairs.

    The package is compiled first, as an installed package is.
    """
    compileall.compile_dir(Path(msgbus.__file__).parent, quiet=1)
    base, ours = [], []
    for _ in range(job.messages):
        base.append(_elapsed(BASE))
        ours.append(_elapsed(OURS))
    job.extra["ms in all"] = statistics.median(ours) * 1000
    job.tell(statistics.median(mine - other for mine, other in zip(ours, base, strict=True)) * 1000, "ms more")


def _elapsed(program: str) -> float:
    """Return the seconds from the start to the end of an interpreter."""
    begun = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    elapsed = time.perf_counter() - begun
    if ran.returncode:
        raise WorkError(f"imported too early: {ran.stderr.strip()}")
    return elapsed
