"""Tell whether another process holds the lock of the dead letters.

``python -m tests.support.recorded_wire.dead_letter_lock URL`` exits with 0 if so.

It is asked in a process of its own. aiokafka's sticky assignor keeps the last assignment in its class: a process that
has redriven the same queue before would claim the partition that another process holds, and get it by chance.
"""

from __future__ import annotations

import asyncio
import sys

from tests.support.paths import ROOT
from tests.support.recorded_wire.scenario import letters_busy

__all__ = ["busy_elsewhere"]

FREE = 3
"""The exit status when nobody holds them; Python's own are 1 and 2."""
_PATIENCE = 60.0


async def busy_elsewhere(url: str) -> bool:
    """Ask in another process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.recorded_wire.dead_letter_lock", url, cwd=ROOT
    )
    async with asyncio.timeout(_PATIENCE):
        status = await process.wait()
    assert status in {0, FREE}
    return status == 0


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(letters_busy(sys.argv[1])) else FREE)
