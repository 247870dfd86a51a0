"""aiokafka has no types: msgbus_kafka has its own for it (client_types), and few places that are not typed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ADAPTER: Final = Path(__file__).parents[3] / "adapters" / "msgbus_kafka"
LIMIT: Final = 29
"""Lines with ``Any``; there were 151."""
CLIENT_CLASSES: Final = frozenset({"AIOKafkaClient", "AIOKafkaConsumer", "AIOKafkaProducer"})


def untyped_lines(source: str) -> set[int]:
    """Return the lines that use ``Any``, other than its import."""
    names = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Name, ast.Attribute)))
    return {node.lineno for node in names if (node.id if isinstance(node, ast.Name) else node.attr) == "Any"}


def calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def test_few_places_of_the_kafka_adapter_are_untyped() -> None:
    found = {
        f"{path.relative_to(ADAPTER)}:{line}"
        for path in ADAPTER.rglob("*.py")
        for line in untyped_lines(path.read_text())
    }
    assert len(found) <= LIMIT, sorted(found)


def test_the_clients_of_aiokafka_are_made_in_one_file() -> None:
    makers = {path.name for path in ADAPTER.rglob("*.py") if CLIENT_CLASSES & set(calls(path.read_text()))}
    assert makers == {"clients.py"}


def test_each_line_with_any_is_counted_once_and_imports_are_not() -> None:
    source = "from typing import Any\nimport typing\ndef f(a: Any) -> Any: ...\nb: typing.Any = '# Any'\n"
    assert untyped_lines(source) == {3, 4}
