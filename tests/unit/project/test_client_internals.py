"""Private names of a client library are touched in one place of each adapter, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ADAPTERS: Final = Path(__file__).parents[3] / "adapters"
INTERNALS: Final = {
    "msgbus_kafka": ("aiokafka_internals",),
    "msgbus_memory": (),
    "msgbus_rabbitmq": ("aio_pika_internals",),
    "msgbus_redis": ("connection/server.py",),
}
"""The folders and files of each adapter that may touch private names of its client library."""
CLIENTS: Final = frozenset({"aio_pika", "aiokafka", "aiormq", "hiredis", "pamqp", "redis"})
"""The packages whose private names are meant, where a class inherits from one of theirs."""
NAMED_BY_STRING: Final = frozenset({"getattr", "setattr", "hasattr", "delattr"})


def sources() -> list[Path]:
    return sorted(
        path
        for package, allowed in INTERNALS.items()
        for path in (ADAPTERS / package).rglob("*.py")
        if not path.relative_to(ADAPTERS / package).as_posix().startswith(allowed)
    )


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_uses(source: str) -> Iterator[str]:
    """Yield each use of a private name that is not the file's own, as ``line: expression``.

    ``self._name`` and ``cls._name`` are a class's own, unless the class inherits from a client library's and the file
    does not define the name. On another object, a private name is own if a class of the same file defines it and the
    object is one of that class by its annotation.
    """
    tree = ast.parse(source)
    clients = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        for alias in _imported(node)
        if _root(node, alias) in CLIENTS
    }
    for node in ast.walk(tree):
        yield from _imported_private(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMED_BY_STRING:
            for text in node.args[1:2]:
                if isinstance(text, ast.Constant) and isinstance(text.value, str) and is_private(text.value):
                    yield f"{node.lineno}: {ast.unparse(node)}"
    yield from _attributes(tree, tree, clients, frozenset(), own=True)


def _attributes(
    tree: ast.Module, node: ast.AST, clients: set[str], siblings: frozenset[str], *, own: bool
) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        own_of_child, siblings_of_child = own, siblings
        if isinstance(child, ast.ClassDef):
            inherits = any(
                isinstance(name, ast.Name) and name.id in clients for base in child.bases for name in ast.walk(base)
            )
            own_of_child = not inherits
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            siblings_of_child = siblings | _annotated_with_a_class_of(tree, child)
        if isinstance(child, ast.Attribute) and is_private(child.attr):
            yield from _judge(tree, child, siblings, own=own)
        yield from _attributes(tree, child, clients, siblings_of_child, own=own_of_child)


def _judge(tree: ast.Module, attribute: ast.Attribute, siblings: frozenset[str], *, own: bool) -> Iterator[str]:
    owner = attribute.value
    mine = isinstance(owner, ast.Name) and owner.id in {"self", "cls"}
    sibling = isinstance(owner, ast.Name) and owner.id in siblings
    if (mine and own) or ((mine or sibling) and attribute.attr in _defined(tree)):
        return
    yield f"{attribute.lineno}: {ast.unparse(attribute)}"


def _annotated_with_a_class_of(tree: ast.Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return frozenset(
        argument.arg for argument in arguments if argument.annotation and ast.unparse(argument.annotation) in classes
    )


def _defined(tree: ast.Module) -> set[str]:
    """Return the private names that the file's classes define."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
    return found


def _imported(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []


def _root(node: ast.AST, alias: ast.alias) -> str:
    module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
    return module.partition(".")[0]


def _imported_private(node: ast.AST) -> Iterator[str]:
    for alias in _imported(node):
        if _root(node, alias) in CLIENTS and any(map(is_private, alias.name.split("."))):
            yield f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ADAPTERS).as_posix())
def test_private_names_of_a_client_are_touched_in_its_internals_only(path: Path) -> None:
    assert not list(private_uses(path.read_text()))


def test_every_adapter_is_looked_at() -> None:
    assert {path.name for path in ADAPTERS.iterdir() if (path / "__init__.py").exists()} == set(INTERNALS)
    for package, allowed in INTERNALS.items():
        assert all((ADAPTERS / package / place).exists() for place in allowed)


@pytest.mark.parametrize(
    "use",
    [
        "def f(consumer): return consumer._client",
        "class A:\n def f(self): return self._client._coordinator.generation",
        "class A:\n def f(self): return getattr(self.client, '_task', None)",
        "from aiokafka.record import _crecords",
        "from aiokafka import AIOKafkaConsumer\nclass A(AIOKafkaConsumer):\n def f(self): return self._client",
        "class A:\n def __init__(self): self._client = 1\n def f(self, other): return other._client",
        "def f(consumer): consumer._client = None",
    ],
)
def test_a_use_is_found(use: str) -> None:
    assert list(private_uses(use))


@pytest.mark.parametrize(
    "use",
    [
        "class A:\n def f(self): return self._client",
        "class A:\n def __init__(self): self._at = 1\n def __lt__(self, other: A): return self._at < other._at",
        "from aiokafka import AIOKafkaConsumer\nclass A(AIOKafkaConsumer):\n def f(self): self._own = self._own",
        "def f(a): return a.__class__",
    ],
)
def test_what_is_own_is_left_alone(use: str) -> None:
    assert not list(private_uses(use))
