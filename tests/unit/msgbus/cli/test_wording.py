"""Errors in the words of the command line."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msgbus.cli.wording import in_words_of_the_command

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queue q does not exist; create_queue() makes it", "queue q does not exist"),
        ("queue 'q' does not exist: create_queue() makes it", "queue 'q' does not exist"),
        ("queue q.g.dlq does not exist; create_queue(groups=...) makes it", "queue q.g.dlq does not exist"),
        ("redis: user 'x' is refused: NOPERM; see docs", "redis: user 'x' is refused: NOPERM; see docs"),
        ("queue q has no group; name them, create_queue(groups=...), or consume first", "queue q has no group"),
        ("create_queue() failed", "create_queue() failed"),
        ("h:6379: no connection", "h:6379: no connection"),
        ("", ""),
    ],
)
def test_what_names_a_python_call_is_left_out(text: str, said: str) -> None:
    assert in_words_of_the_command(text) == said


PYTHON = re.compile(r"\b[a-z_]+\([^)]*\)|\b(group|groups|retention|partitions|rate|batch|limit)=")

RAISED = re.compile(r"Error|Found|Unsupported|Refused|Unavailable|Missing|Route|Conflict|Active|Locked|Lost")


def files(package: str) -> Path:
    """The folder of a package, of the sources or installed."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _texts_of_errors() -> Iterator[str]:
    """Yield the constant parts of what the core and the adapters raise."""
    for package in ("msgbus", "msgbus_kafka", "msgbus_memory", "msgbus_rabbitmq", "msgbus_redis"):
        for path in sorted(files(package).rglob("*.py")):
            if "testing" in path.parts or any(part.endswith("_internals") for part in path.parts):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args and RAISED.search(ast.unparse(node.func)):
                    yield "".join(_parts(node.args[0]))


def _parts(text: ast.expr) -> Iterator[str]:
    for node in ast.walk(text):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.FormattedValue):
            yield "…"


def test_no_error_that_an_operator_can_meet_names_python() -> None:
    texts = {in_words_of_the_command(text) for text in _texts_of_errors()}
    assert len(texts) > 50
    concerned = (text for text in texts if "callback" not in text)  # the command consumes nothing
    assert sorted(text for text in concerned if PYTHON.search(text)) == []
