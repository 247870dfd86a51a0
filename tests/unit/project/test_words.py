"""One word, one meaning: names use the words of docs/glossary.md, and none that it replaces."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES: Final = sorted(
    path
    for package in ("msgbus", "adapters", "pytest_msgbus")
    for path in (ROOT / package).rglob("*.py")
    if ROOT / "msgbus" / "testing" / "cases" not in path.parents  # a case's name is its sentence
)
BANNED: Final[set[str]] = {
    "anew",
    "apart",
    "bear",
    "bell",
    "births",
    "born",
    "calm",
    "checkup",
    "composer",
    "dialling",
    "farewell",
    "hands",
    "heads",
    "held",
    "hungry",
    "jammed",
    "ladder",
    "lane",
    "lanes",
    "letters",
    "owed",
    "pace",
    "paid",
    "pulse",
    "reap",
    "ring",
    "roster",
    "settlement",
    "settling",
    "stranger",
    "stretch",
    "stuck",
    "surplus",
    "taker",
    "tame",
    "upkeep",
    "verdict",
    "widen",
    "widths",
}
ALONE: Final[set[str]] = {
    "AGAIN",
    "ANSWER",
    "BYTES",
    "CLOSE",
    "CONNECT",
    "CREATE",
    "ENOUGH",
    "EVERY",
    "FRESH",
    "LONG",
    "LOOK",
    "MESSAGES",
    "MOST",
    "PATIENCE",
    "READ",
    "SOON",
    "WAIT",
}
ALLOWED: Final = frozenset({"AccessRefused", "DeadLetters", "Verdict"})
"""Names in which the word has the meaning of the field."""


def words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)


def names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def banned(name: str) -> set[str]:
    if name in ALLOWED:
        return set()
    found = [word.lower() for word in words(name)]
    dead = {after for before, after in pairwise(found) if before == "dead"}
    return ((BANNED & set(found)) - dead) | ({name} & ALONE)


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES])
def test_names_use_the_words_of_the_glossary(path: Path) -> None:
    wrong = {name: found for name in [path.stem, *names(ast.parse(path.read_text()))] if (found := banned(name))}
    assert not wrong, "see docs/glossary.md"


def test_what_is_banned_is_found() -> None:
    assert banned("find_hands") == {"hands"}
    assert banned("PATIENCE") == {"PATIENCE"}
    assert not banned("open_dead_letters")
