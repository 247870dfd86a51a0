"""Names of loggers: an operator sets the level of one broker, or of all of msgbus, by a name that is easy to guess.

An adapter logs as ``msgbus.<broker>``, and the core as ``msgbus``. ``msgbus.sessions`` is the one logger of a subject:
it reports at INFO how sessions begin and end, which some operators want without the rest
(docs/how-to/observe-health.md).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OF_A_SUBJECT = {"msgbus/consuming/session_metrics.py": "msgbus.sessions"}
SOURCES = sorted(path for package in ("msgbus", "adapters", "pytest_msgbus") for path in (ROOT / package).rglob("*.py"))


def loggers(tree: ast.AST) -> Iterator[str]:
    """Yield what is passed to getLogger(), as source text; ``logging.info()`` and the like are the root logger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] == "getLogger":
                yield ", ".join(ast.unparse(one) for one in node.args)
            elif called in {"logging.debug", "logging.info", "logging.warning", "logging.error", "logging.exception"}:
                yield "''"


def expected(path: str) -> str:
    parts = path.split("/")
    own = f"msgbus.{parts[1].removeprefix('msgbus_')}" if parts[0] == "adapters" else "msgbus"
    return OF_A_SUBJECT.get(path, own)


def wrong(path: str, source: str) -> list[str]:
    return [name for name in loggers(ast.parse(source)) if name != repr(expected(path))]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES])
def test_loggers_are_named_after_their_broker(path: Path) -> None:
    assert not wrong(str(path.relative_to(ROOT)), path.read_text())


@pytest.mark.parametrize(
    ("path", "source", "bad"),
    [
        ("adapters/msgbus_redis/adapter.py", "logging.getLogger('msgbus.redis')", False),
        ("adapters/msgbus_redis/adapter.py", "logging.getLogger('msgbus')", True),
        ("adapters/msgbus_redis/adapter.py", "logging.getLogger('msgbus.kafka')", True),
        ("adapters/msgbus_kafka/consumer/consumer.py", "getLogger(__name__)", True),
        ("msgbus/broker.py", "logging.getLogger('msgbus')", False),
        ("msgbus/broker.py", "logging.getLogger('msgbus.broker')", True),
        ("msgbus/broker.py", "logging.warning('a text')", True),
        ("msgbus/consuming/session_metrics.py", "logging.getLogger('msgbus.sessions')", False),
    ],
)
def test_other_names_are_found(path: str, source: str, bad: bool) -> None:
    assert bool(wrong(path, source)) is bad
