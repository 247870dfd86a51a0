"""Plain language, as far as a test can decide it.

- Docstrings, comments, errors and log messages name who acts: they have none of the words in ``ANONYMOUS``.
- A log message at WARNING or above has a reason or a consequence, behind a colon or a semicolon.
- A log message begins with what it is about: a broker, queue, group or partition, or a value.
- An error of msgbus has more than one word, and neither an error nor a log message ends with a full stop.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING, Final

import pytest

from msgbus import errors
from tests.support.docstrings import SOURCES
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANONYMOUS: Final = re.compile(r"\b(whoever|nobody|somebody|anybody|anyone|someone|anew|for ever)\b", re.IGNORECASE)
ABOUT: Final = re.compile(r"(kafka|queue|group|redis|memory|RabbitMQ|aiormq|aio-pika)\b|%")
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "log"})
SERIOUS: Final = frozenset({"warning", "error", "exception"})
ERRORS: Final = frozenset(errors.__all__) - {"queue_not_found", "translate_errors"}


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments and strings with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield token.start[0], token.string


def text_of(node: ast.expr) -> str:
    """Return a literal text, with ``%s`` for each value in it; empty if the text is not literal."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "%s" for one in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def logged(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each log message."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func.value) == "logger" and node.func.attr in LEVELS:
            yield node.func.attr, text_of(node.args[1 if node.func.attr == "log" else 0])


def raised(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of errors of msgbus."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ERRORS:
            yield text_of(node.args[0])


def wrong(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [f"line {line}: {text}" for line, text in prose(source) if ANONYMOUS.search(text)]
    for level, text in logged(tree):
        if text and not ABOUT.match(text):
            found.append(f"a log message is about nothing: {text}")
        if text and level in SERIOUS and not re.search(r"[:;]", text):
            found.append(f"a warning without reason or consequence: {text}")
    texts = [*raised(tree), *(text for _, text in logged(tree))]
    found += [f"a full stop at the end: {text}" for text in texts if text.endswith(".")]
    return found + [
        f"an error of one word: {text}" for text in raised(tree) if text and " " not in text and "%" not in text
    ]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES])
def test_texts_are_in_plain_language(path: Path) -> None:
    assert not wrong(path.read_text())


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ('"""Whoever reads this."""', 1),
        ("x = 1  # nobody waits", 1),
        ("logger.warning('it is broken')", 2),
        ("logger.warning('queue %s is broken', queue)", 1),
        ("logger.warning('queue %s is broken; trying again', queue)", 0),
        ("logger.info('queue %s can be written again', queue)", 0),
        ("raise BrokerClosed('closed')", 1),
        ("raise BrokerClosed('the broker is closed.')", 1),
        ("raise QueueNotFound(f'queue {name} does not exist; create_queue() makes it')", 0),
        ("raise ValueError('closed')", 0),
    ],
)
def test_other_texts_are_found(source: str, faults: int) -> None:
    assert len(wrong(source)) == faults
