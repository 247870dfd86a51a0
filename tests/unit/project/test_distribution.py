"""What is built: a source distribution that everything can be made from, and a wheel that passes the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from shutil import copytree
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two distributions."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


def run(*words: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own words
        words, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_source_distribution_has_all_that_make_needs(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    rules = re.findall(r"^[\w$()./-]+: (.*?)(?: *##.*)?$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    prerequisites = {word for rule in rules for word in rule.split() if re.fullmatch(r"[\w-]+\.\w+", word)}
    assert {"requirements.lock", "requirements-bench.lock", "pyproject.toml"} <= prerequisites
    assert prerequisites <= names
    files = {"Makefile", "CONFORMANCE.md", "pyright-adapters.json", "docker-compose.yml", "tests/conftest.py"}
    assert files <= names
    for folder in ("msgbus", "adapters", "pytest_msgbus", "tests", "examples", "bench", "docs"):
        there = {str(one.relative_to(ROOT)) for one in (ROOT / folder).rglob("*") if one.is_file()}
        ours = {one for one in there if "__pycache__" not in one and not one.startswith("bench/results/")}
        assert ours <= names, folder


def test_the_plugin_of_the_wheel_passes_its_tests(built: Path, tmp_path: Path) -> None:
    """Installed, so not as a folder of the sources: pytest rewrites the modules of installed plugins."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - our own wheel
    tree = tmp_path / "tree"
    copytree(ROOT / "tests", tree / "tests")
    (tree / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    where = (
        "import msgbus, msgbus_memory, pytest_msgbus as p; print(msgbus.__file__, msgbus_memory.__file__, p.__file__)"
    )
    installed = {"PYTHONPATH": str(tmp_path / "site")}
    assert run(sys.executable, "-c", where, cwd=tree, **installed).count(str(tmp_path / "site")) == 3
    suites = ("tests/unit/testing/test_plugin.py", "tests/unit/memory")
    words = ("-q", "-o", "pythonpath=.", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert " passed" in run(sys.executable, "-m", "pytest", *words, *suites, cwd=tree, **installed)
