"""The language of docstrings, as far as a test can decide it. Ruff decides the rest (D401: an imperative first line).

The public API is what ``msgbus``, ``msgbus.testing`` with its simulation and verification, and ``msgbus.adapter`` with
its modules export, and the fixtures of ``pytest_msgbus``. Each of its functions, methods and properties has a docstring
with the sections that it needs:

- ``Args`` has an entry for every parameter except self, and none for anything else. The entry of a float has its unit.
- ``Returns`` (or ``Yields``) is there if the function returns a value, unless the first sentence begins with "Return".
- ``Raises`` has every error that the code raises, by itself or by functions of msgbus that it calls by name, or a base
  class of it; and every error that the text says it raises.
- Instead, a docstring may say "Implement :meth:`Class.method`", which is the description then, or "Arguments and errors
  are those of :meth:`other`".
- A property needs no ``Returns``. A fixture needs no ``Raises``, since pytest calls it.

A reference to a method names one that exists. Fewer than 10 % of the docstrings of functions, methods and properties
begin with another word than a verb.
"""

from __future__ import annotations

import ast
import pkgutil
import re
from typing import Final

import pytest

import msgbus.adapter
from tests.support.docstrings import (
    SOURCES,
    Module,
    PublicCallable,
    begins_with_verb,
    exported,
    fixtures,
    problems,
    share_without_verb,
)
from tests.support.paths import ROOT

PACKAGES: Final = (
    "msgbus",
    "msgbus.adapter",
    *(f"msgbus.adapter.{one.name}" for one in pkgutil.iter_modules(msgbus.adapter.__path__)),
    "msgbus.testing",
    "msgbus.testing.plugin",
    "msgbus.testing.simulation",
    "msgbus.testing.verification",
)
FIXTURES: Final = ("pytest_msgbus", "pytest_msgbus.with_asyncio", "pytest_msgbus.without_asyncio")
PUBLIC: Final = {one.where: one for found in (*map(exported, PACKAGES), *map(fixtures, FIXTURES)) for one in found}
MAX_SHARE_WITHOUT_VERB: Final = 0.1

SAMPLE: Final = Module(
    "sample",
    ast.parse('''
def complete(queue: str, timeout: float) -> int:
    """Count the messages.

    Args:
        queue: The name of the queue.
        timeout: Seconds to wait at most.

    Returns:
        The number of messages.

    Raises:
        ConfigurationError: The name is outside the grammar.
    """
    check(queue)

def check(queue: str) -> None:
    """Check a name."""
    if not queue:
        raise InvalidName("it is empty")

def guarded(queue: str) -> str:
    """Return a name.

    Args:
        queue: The name.
    """
    try:
        check(queue)
    except InvalidName:
        return ""
    return queue

def no_unit(timeout: float) -> None:
    """Wait.

    Args:
        timeout: How long to wait.
    """

def other_parameter(queue: str) -> None:
    """Open a queue.

    Args:
        name: The name of the queue.
    """

def prose() -> int:
    """Count the messages; raises BrokerUnavailable."""

class Store:
    def close(self, now: bool) -> None:
        """Close the store."""
        self._refuse()

    def _refuse(self):
        raise BrokerClosed("it is closed")

    @property
    def size(self) -> int:
        """The number of messages."""

    def undescribed(self): ...

    def look(self, limit: int) -> int:
        """Implement :meth:`DeadLetterStore.look`."""
'''),
)


def sample(name: str, owner: str = "") -> list[str]:
    where = SAMPLE.classes[owner].body if owner else SAMPLE.tree.body
    (node,) = (one for one in where if isinstance(one, ast.FunctionDef) and one.name == name)
    return problems(PublicCallable(name, node, SAMPLE, SAMPLE.classes[owner] if owner else None))


@pytest.mark.parametrize("one", [pytest.param(one, id=where) for where, one in PUBLIC.items()])
def test_public_docstrings_have_their_sections(one: PublicCallable) -> None:
    assert not problems(one)


def test_the_public_api_is_found() -> None:
    assert {
        "msgbus.registry.connect",
        "msgbus.broker.Broker.publish",
        "msgbus.adapter.interface.Adapter.__init__",
        "msgbus.adapter.url.BrokerURL.parse",
        "msgbus.testing.probe.Probe.hold",
        "msgbus.testing.plugin.Handled.__call__",
        "pytest_msgbus.dead_letters",
    } <= set(PUBLIC)


def test_a_complete_docstring_passes() -> None:
    assert not sample("complete")
    assert not sample("guarded")
    assert not sample("size", "Store")
    assert not sample("look", "Store")


def test_missing_sections_are_found() -> None:
    assert sample("check") == ["Args lacks queue", "Raises lacks InvalidName"]
    assert sample("close", "Store") == ["Args lacks now", "Raises lacks BrokerClosed"]
    assert sample("undescribed", "Store") == ["there is no docstring"]
    assert sample("prose") == [
        "Returns is missing, and the first sentence does not begin with Return",
        "Raises lacks BrokerUnavailable",
    ]


def test_wrong_arguments_are_found() -> None:
    assert sample("no_unit") == ["Args gives no unit of timeout"]
    assert sample("other_parameter") == ["Args lacks queue", "Args has name, which is no parameter"]


def test_most_docstrings_begin_with_a_verb() -> None:
    others, total = share_without_verb()
    assert others < MAX_SHARE_WITHOUT_VERB * total, "count them by python -m tests.support.docstrings"


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("Queue the message.", True),
        ("Queue of messages.", False),
        ("The queue.", False),
        ("Messages in flight.", False),
        ("Returns the queue.", False),
    ],
)
def test_verbs_are_told_from_nouns(text: str, verb: bool) -> None:
    assert begins_with_verb(text) is verb


def test_references_name_methods_that_exist() -> None:
    members: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(_members(node))
    wrong = [
        f"{path.relative_to(ROOT)}: {kind}.{name}"
        for path in SOURCES
        for kind, name in re.findall(r":(?:meth|attr):`~?(\w+)\.(\w+)`", path.read_text())
        if kind in members and name not in members[kind]
    ]
    assert not wrong


def _members(node: ast.ClassDef) -> set[str]:
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    fields = {ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)}
    return methods | fields
