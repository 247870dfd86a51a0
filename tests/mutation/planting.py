"""Plants a bug in a copy of the sources, and runs tests on the copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutation.bugs import Bug

__all__ = ["AT_ONCE", "CAUGHT", "CONTRACT", "ROOT", "STUCK", "WHOLE", "Catch", "load", "plant", "run"]

CAUGHT: Final = Path(__file__).with_name("caught.json")
CONTRACT: Final = "tests/contract/test_memory.py"
DEADLINE: Final = 10
"""Seconds that a case waits for anything: a delay of 8 s is the longest that one has to wait for."""
STUCK: Final = 30
"""Seconds after which a test is ended that never ends by itself."""
AT_ONCE: Final = 4
"""Runs at once: they wait for most of their time."""
WHOLE: Final = 600
"""Seconds for all of them."""
_COPIED: Final = ("msgbus", "adapters", "pytest_msgbus", "tests", "pyproject.toml")
_FAILED: Final = re.compile(r"^FAILED (\S+?\.py::.+?) - (.*)$", re.MULTILINE)
_PLACES: Final = re.compile(r"^(\S+?\.py):(\d+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Catch:
    """A test that catches a bug."""

    test: str
    because: str
    """First line of the failure."""


def load() -> dict[str, Catch]:
    """Read the committed list, caught.json."""
    return {name: Catch(**fields) for name, fields in json.loads(CAUGHT.read_text()).items()}


def plant(bug: Bug, tree: Path) -> None:
    """Put ``bug`` into the sources under ``tree``. AssertionError unless its place is found exactly once."""
    path = tree / bug.file
    source = path.read_text()
    found = source.count(bug.old)
    assert found == 1, f"{bug.name!r}: its place is in {bug.file} {found} times; the list must follow the source"
    path.write_text(source.replace(bug.old, bug.new))


def run(bug: Bug | None, tests: Sequence[str], seconds: float = STUCK) -> list[Catch]:
    """Run ``tests`` on a copy of the sources with ``bug``; those that failed. None: the sources as they are.

    Ended after ``seconds``, and then the first of ``tests`` counts as failed.
    """
    with TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            _copy(ROOT / name, tree / name)
        if bug is not None:
            plant(bug, tree)
        return _pytest(tree, tests, seconds)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("mutation", "data"))
    else:
        shutil.copy2(source, target)


def _pytest(tree: Path, tests: Sequence[str], seconds: float) -> list[Catch]:
    try:
        return _failed(tree, _ended(tree, tests, seconds))
    except subprocess.TimeoutExpired:
        return [Catch(tests[0], "it never ended")]


def _ended(tree: Path, tests: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(tree), str(tree / "adapters")])
    settings = {"PYTHONPATH": paths, "MSGBUS_TEST_DEADLINE": str(DEADLINE), "MSGBUS_GRACE": "2", "COLUMNS": "500"}
    return subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )


def _failed(tree: Path, done: subprocess.CompletedProcess[str]) -> list[Catch]:
    assert done.returncode in {0, 1}, f"the tests did not run:\n{done.stdout}\n{done.stderr}"
    tests = _FAILED.findall(done.stdout)
    assert bool(tests) == bool(done.returncode), done.stdout
    places = _PLACES.findall(done.stdout)
    reasons = [_reason(tree, *place) for place in places] if len(places) == len(tests) else [said for _, said in tests]
    return [Catch(test, reason) for (test, _), reason in zip(tests, reasons, strict=True)]


def _reason(tree: Path, file: str, line: str, said: str) -> str:
    """What was said, or, if that was nothing, the line that did not hold; without what differs from run to run."""
    if said in {"AssertionError", "TimeoutError"}:
        said = (tree / file).read_text().splitlines()[int(line) - 1].strip()
    return re.sub(r"\d+", "#", re.sub(r"contract-[0-9a-f]+|\b[0-9a-f]{8,}\b", "…", said))
