"""An adapter outside the tree is proved by the contract suite."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from shutil import copy

from msgbus.testing import CASES
from msgbus.testing.cases.faults import refused_queues, third_party_clients

HERE = Path(__file__).parent
FAULTS = {third_party_clients.__name__, refused_queues.__name__}
UNOFFERED = [case.__name__ for case in CASES if case.__module__ in FAULTS]
"""Cases that need faults injected into the server."""


async def test_a_fifth_adapter_outside_the_tree_is_proved_in_fifteen_lines(tmp_path: Path) -> None:
    suite = (HERE / "suite.txt").read_text()
    assert len(suite.splitlines()) <= 15
    (tmp_path / "test_listed.py").write_text(suite)
    copy(HERE / "listed.py", tmp_path)
    package = tmp_path / "listed-1.0.dist-info"  # what an installation would leave
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: listed\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[msgbus.adapters]\nlisted = listed:ListAdapter\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_listed.py"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report[-5000:]
    outcomes = rf"\b{len(CASES) - len(UNOFFERED)} passed, {len(UNOFFERED)} not offered in"
    assert re.search(outcomes, report), report[-500:]
    for case in UNOFFERED:
        assert re.search(rf"test_contract\[{case}\]: not offered: \w+", report), case
