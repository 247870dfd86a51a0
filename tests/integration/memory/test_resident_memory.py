"""Resident memory of a process on ``memory://`` while messages pass."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MESSAGES = int(os.environ.get("MSGBUS_TEST_MESSAGES", "600000"))
"""Messages that pass; the first fifth fills what is kept for groups that come later."""
GROWTH_MIB = 20.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")


@pytest.mark.timeout(120 + MESSAGES // 2000)
@pytest.mark.parametrize("case", ["handled", "groupless", "stuck"])
async def test_resident_memory_does_not_grow_with_the_number_of_messages(case: str) -> None:
    arguments = ("-m", "tests.support.processes.resident_memory", case, str(MESSAGES // 5), str(MESSAGES))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    early, late = map(float, output.split())
    figures = f"{early:g} MiB after {MESSAGES // 5:,} messages, {late:g} MiB after {MESSAGES:,}"
    print(f"\nmemory, {case}: {figures}")  # noqa: T201 - with -s
    assert late - early < GROWTH_MIB
