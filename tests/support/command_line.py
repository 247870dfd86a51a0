"""The command ``msgbus`` as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


async def command(url: str, *arguments: str, folder: Path = ROOT, stderr: int | None = None) -> tuple[int, str, str]:
    """Run ``msgbus ARGUMENTS`` and return its exit code, output and messages."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "msgbus.cli", *arguments),
        cwd=folder,
        env={**os.environ, "MSGBUS_URL": url, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if stderr is None else stderr,
    )
    output, messages = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), (messages or b"").decode()
