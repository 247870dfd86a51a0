"""``python -m msgbus.testing.verification``."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from msgbus.testing.verification.__main__ import main
from tests.support.written_history import A, Tale, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def command(*files: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "msgbus.testing.verification", *map(str, files)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def test_the_command_says_by_its_exit_code_whether_the_promise_was_kept(tmp_path: Path) -> None:
    kept = command(write(tmp_path / "kept", Tale().published("1").handled(A, "1").events))
    broken = command(write(tmp_path / "broken", Tale().published("1").events))
    unreadable = command(tmp_path / "missing")
    assert (kept.returncode, broken.returncode, unreadable.returncode, command().returncode) == (0, 1, 2, 2)
    assert "the promise was kept" in kept.stdout
    assert "LOST: message 1 of q" in broken.stdout
    assert "missing" in unreadable.stderr


def test_the_same_in_this_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = write(tmp_path / "kept", Tale().published("1").handled(A, "1").events)
    broken = write(tmp_path / "broken", Tale().published("1").events)
    codes = [main([str(path) for path in paths]) for paths in ([kept], [broken], [tmp_path / "missing"], [])]
    assert codes == [0, 1, 2, 2]
    assert main(["--help"]) == 2
    assert "the promise was kept" in capsys.readouterr().out
