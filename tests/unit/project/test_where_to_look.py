"""The pages for contributors name places and tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES: Final = ROOT / "docs" / "contributing"
PACKAGE: Final = re.compile(r"^(msgbus|adapters|pytest_msgbus)/")
PATH: Final = re.compile(r"^(msgbus|adapters|pytest_msgbus|tests|bench|docs)/")


@cache
def symbols(file: Path) -> frozenset[str]:
    """Names of functions, classes and constants in ``file``; methods and attributes as ``Class.name``."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        found |= defined(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for child in node.body for name in defined(child)}
    return frozenset(found)


def defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def quoted(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def places(page: Path) -> list[str]:
    return [text for text in quoted(page) if "::" in text]


def is_there(place: str) -> bool:
    file, _, name = place.partition("::")
    return (ROOT / file).is_file() and name in symbols(ROOT / file)


@cache
def known_tests() -> frozenset[str]:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "msgbus" / "testing" / "cases").rglob("*.py")]
    return frozenset(
        name for file in files for name in re.findall(r"^ *(?:async )?def (\w+)", file.read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("page", ["where-to-look.md", "where-to-add.md", "client-internals.md"])
def test_every_place_that_a_page_names_is_there(page: str) -> None:
    named = places(PAGES / page)
    assert named
    lost = [place for place in named if not is_there(place)]
    assert not lost


def test_every_path_of_the_page_for_additions_is_there() -> None:
    paths = [text for text in quoted(PAGES / "where-to-add.md") if PATH.match(text) and "::" not in text]
    assert paths
    lost = [path for path in paths if not (ROOT / path).exists() and "NNNN" not in path]
    assert not lost


@pytest.mark.parametrize("page", ["where-to-look.md", "client-internals.md"])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = {text for text in quoted(PAGES / page) if re.fullmatch(r"test_\w+|[a-z]+(?:_[a-z0-9]+){4,}", text)}
    assert any(name.startswith("test_") for name in named)
    lost = sorted(named - known_tests())
    assert not lost


def test_every_folder_and_file_of_the_map_is_there_and_every_package_is_on_it() -> None:
    page = (PAGES / "architecture.md").read_text()
    lost = [
        path for path in re.findall(r"`([\w/]+(?:\.py|/))`", page) if PACKAGE.match(path) and not (ROOT / path).exists()
    ]
    assert not lost
    for root in (ROOT / "msgbus", *(ROOT / "adapters").glob("msgbus_*")):
        modules = {path.name for path in root.glob("*.py")} - {"__init__.py"}
        packages = {f"{path.parent.name}/" for path in root.glob("*/__init__.py")}
        unnamed = sorted(name for name in modules | packages if f"{name}`" not in page)
        assert not unnamed, root


def test_every_step_of_the_journeys_is_there() -> None:
    """In the drawings: each ``Class.method`` is one of ours, and each file is there."""
    page = (PAGES / "architecture.md").read_text()
    drawings = "\n".join(re.findall(r"```\n(.*?)```", page.partition("## One message")[2], re.DOTALL))
    files = [path for package in ("msgbus", "adapters") for path in (ROOT / package).rglob("*.py")]
    known = {name for file in files for name in symbols(file)}
    named = set(re.findall(r"\b[A-Z]\w+\.\w+", drawings))
    assert named
    unknown = sorted(named - known)
    assert not unknown
    paths = {path.relative_to(ROOT).as_posix() for path in files}
    for path in re.findall(r"[\w/]+\.py", drawings):
        assert any(known_path == path or known_path.endswith(f"/{path}") for known_path in paths), path


def test_every_test_file_that_the_source_names_is_there() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    sources = [path for package in ("msgbus", "adapters") for path in (ROOT / package).rglob("*.py")]
    named = {(path.name, name) for path in sources for name in re.findall(r"\btest_\w+\.py\b", path.read_text())}
    assert named
    assert sorted(one for one in named if one[1] not in there) == []
