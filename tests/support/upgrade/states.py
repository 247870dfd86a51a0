"""States of msgbus: the wheel of each, installed in a virtual environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BASELINE", "NoSuchState", "State", "earlier", "present"]

BASELINE: Final = "d8b10e5"
"""The commit from which an upgrade is tested by default. Its wheel is in ``tests/data/upgrade``, since a checkout may
have no history: CI clones one commit, and an sdist has no git."""
KEPT: Final = ROOT / "tests" / "data" / "upgrade"
EXTRAS: Final = "kafka,rabbitmq,redis"
LOCK: Final = "requirements.lock"
_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


class NoSuchState(Exception):
    """The commit cannot be had here; the text says why and what to do."""


@dataclass(frozen=True)
class State:
    """An installed state."""

    name: str
    """``old`` or ``new``."""
    python: Path
    """The interpreter of its virtual environment."""
    site: Path
    """Where its packages are, ``msgbus`` among them."""


def earlier(commit: str, folder: Path) -> State:
    """Install the state of ``commit`` into a folder below ``folder``.

    The baseline's wheel is the one that is kept; that of any other commit is built from the history.

    Raises:
        NoSuchState: There is no git here, or it does not know the commit.
    """
    home = folder / "old"
    if commit.startswith(BASELINE):
        (wheel,) = (KEPT / BASELINE).glob("*.whl")
        return _installed("old", wheel, KEPT / BASELINE / LOCK, home)
    tree = home / "tree"
    _check_out(commit, tree)
    return _installed("old", _built(tree, home), tree / LOCK, home)


def present(folder: Path) -> State:
    """Install this working tree into a folder below ``folder``."""
    home = folder / "new"
    return _installed("new", _built(ROOT, home), ROOT / LOCK, home)


def _check_out(commit: str, tree: Path) -> None:
    if shutil.which("git") is None:
        raise NoSuchState(f"commit {commit}: git is not installed; without it only {BASELINE} can be had")
    ran = subprocess.run(  # noqa: S603 - the commit is one argument
        ["git", "archive", "--format=tar", f"{commit}^{{commit}}"],  # noqa: S607 - the user's git
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    if ran.returncode:
        why = ran.stderr.decode(errors="replace").strip()
        raise NoSuchState(f"commit {commit}: {why}; a shallow clone gets it by: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(ran.stdout)) as archive:
        archive.extractall(tree, filter="data")


def _built(tree: Path, home: Path) -> Path:
    """Build the wheel of ``tree`` with the installed build backend; nothing is downloaded."""
    _run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(home / "wheel")], cwd=tree
    )
    (wheel,) = (home / "wheel").glob("*.whl")
    return wheel


def _installed(name: str, wheel: Path, lock: Path, home: Path) -> State:
    """Install a wheel with the dependencies that its lock file pins.

    Where those are the ones that are installed here, they are used from here, and nothing is downloaded.
    """
    environment = home / "venv"
    _run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = environment / "bin" / "python"
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pinned = ("-c", str(lock), f"msgbus[{EXTRAS}] @ {wheel.resolve().as_uri()}")
    into = (*_PIP, "--python", str(python), "install")
    if _succeeds([*_PIP, "install", "--no-index", "--dry-run", *pinned]):
        _run([*into, "--no-index", "--no-deps", str(wheel)])
        # A folder of a .pth file comes behind the environment's own packages, and its own .pth files are not read: the
        # tree that is installed here in editable form is not on the path.
        (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    else:
        _run([*into, *pinned])
    return State(name, python, site)


def _succeeds(command: list[str]) -> bool:
    ran = subprocess.run(command, capture_output=True, check=False, timeout=300)  # noqa: S603 - our own pip
    return not ran.returncode


def _run(command: list[str], cwd: Path = ROOT) -> None:
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
