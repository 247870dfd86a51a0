"""Groups of tests for pytest-xdist, and the summary of a run on workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.conformance import PAGE, Conformance
from tests.support.paths import ROOT
from tests.support.xdist_groups import SIZE, grouped

if TYPE_CHECKING:
    from pathlib import Path

RESTART = "tests/integration/any_broker/test_restart.py"
FAULTS = [f"{RESTART}::test_it[{how}-{broker}]" for how in "ab" for broker in ("redis", "kafka")]
MANY = [f"tests/contract/test_redis.py::test_contract[{number}]" for number in range(2 * SIZE + 1)]
PLANTED = [f"tests/mutation/test_planted_bugs.py::test_it_is_caught[{number}]" for number in range(3 * SIZE)]
CONTRACT = "tests/contract/test_memory.py::test_contract"
PASSING = ("ids_are_unique_where_none_is_given", "a_body_of_any_bytes_arrives_unchanged")
CASES = (*PASSING, "a_server_that_is_restarted_loses_nothing_and_nothing_in_hand")
OPTIONS = ("-m", "pytest", "-p", "elsewhere", "-p", "no:cacheprovider")
UNIT = ["tests/unit/msgbus/adapter/test_url.py::test_it"]


def test_every_test_is_in_one_group_and_a_group_has_one_file_and_one_broker() -> None:
    groups = grouped([*UNIT, *MANY, *FAULTS])
    assert sorted(test for group in groups for test in group.tests) == sorted([*UNIT, *MANY, *FAULTS])
    assert [(group.path, group.broker, len(group.tests)) for group in groups] == [
        (RESTART, "kafka", 2),
        (RESTART, "redis", 2),
        *(("tests/contract/test_redis.py", "redis", SIZE * 2 // 3 + more) for more in (1, 1, 1)),
        ("tests/unit/msgbus/adapter/test_url.py", "", 1),
    ]


def test_a_file_whose_fixture_prepares_all_its_tests_is_not_cut() -> None:
    assert [len(group.tests) for group in grouped(PLANTED)] == [len(PLANTED)]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_workers_found_is_summed_up_compared_and_as_good_as_without_them(workers: str, tmp_path: Path) -> None:
    code, said = _compared(PAGE.read_text(encoding="utf-8"), workers, tmp_path)
    assert code == 0, said
    assert "memory: 2 passed, 1 not offered (this process)" in said
    assert re.search(r"^=+ 2 passed, 1 not offered in \d", said, re.MULTILINE)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_verdict_that_differs_fails_the_run_on_workers_too(workers: str, tmp_path: Path) -> None:
    stale = Conformance.read(PAGE.read_text(encoding="utf-8"))
    stale.results["memory"][PASSING[0]] = "failed"
    code, said = _compared(stale.text(), workers, tmp_path)
    assert code == 1, said
    assert f"memory: {PASSING[0]}: passed now, failed in CONFORMANCE.md" in said


def _compared(page: str, workers: str, folder: Path) -> tuple[int, str]:
    """What a run of three cases says beside a CONFORMANCE.md with this text."""
    (folder / "page.md").write_text(page, encoding="utf-8")
    (folder / "elsewhere.py").write_text(
        "from pathlib import Path\nfrom tests.support import conformance\n\n"
        "conformance.PAGE = Path(__file__).with_name('page.md')\n"
    )
    done = subprocess.run(  # noqa: S603 - our own
        [
            sys.executable,
            *OPTIONS,
            "-n",
            workers,
            "--conformance",
            "compare",
            *(f"{CONTRACT}[{case}]" for case in CASES),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
