"""What a program can decide about docstrings: how many begin with a verb, and which sections of the public API lack.

``python -m tests.support.docstrings`` prints the share of docstrings that begin with another word. The rules for the
sections are in ``tests/unit/project/test_docstrings.py``.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

SOURCES: Final = sorted(
    path for package in ("msgbus", "adapters", "pytest_msgbus") for path in (ROOT / package).rglob("*.py")
)
VERBS: Final = frozenset(
    re.findall(
        r"\S+",
        """
    abort accept acknowledge acquire add advance allow append apply ask assert attach await begin block break buffer
    build cache call cancel change check claim clear close collect commit compare complete compute configure connect
    consume continue convert copy count crash create cut dead-letter decide declare decode delay delete deliver describe
    detach determine diagnose discard distribute divide do double drain draw drop encode end ensure enter estimate
    examine execute exclude expect expire export extend fail fence fetch find finish flush forget format forward free
    freeze gather generate get give hand handle have hold ignore implement import increase inject insert inspect install
    invoke isolate iterate join keep kill leave let limit list load lock log look lower maintain make map mark match
    measure merge move name notify note observe offer open operate order pack park parse pass pause perform plan poll
    postpone prepare print probe process provide publish purge put queue raise re-raise read rebuild receive recheck
    reconnect record redrive reduce refresh refuse register reject release remove rename renew reopen repeat replace
    replay report request reset resolve restart restore resume retire retrieve retry return revoke rewind run say scan
    seek select send serialise set show shorten shut signal simulate skip sleep sort split start state stop store
    subscribe substitute suspend take tell terminate translate trim try unblock unlock unpack update use validate verify
    wait wake want watch widen withdraw wrap write yield
    """,
    )
)
"""First words that count as verbs. Another verb counts as a noun, so the share errs upwards."""


def first_word(docstring: str) -> str:
    return docstring.split(None, 1)[0].strip(".,:;").lower()


def begins_with_verb(docstring: str) -> bool:
    """Return whether a docstring begins with a verb; a word before "of" is a noun: "Queue of messages."."""
    return first_word(docstring) in VERBS and docstring.split(None, 2)[1:2] != ["of"]


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def share_without_verb() -> tuple[int, int]:
    """Count the docstrings of functions, methods and properties: those that begin with no verb, and all."""
    verbs = [
        begins_with_verb(text)
        for path in SOURCES
        for function in functions(ast.parse(path.read_text()))
        if (text := ast.get_docstring(function))
    ]
    return verbs.count(False), len(verbs)


@dataclass(frozen=True)
class Sections:
    """A docstring in the style of Google: its summary, its prose, and its sections by title."""

    summary: str
    prose: str
    entries: dict[str, dict[str, str]]
    """For each section the texts by name; a section without names, such as Returns, has one entry of an empty name."""

    @classmethod
    def parse(cls, text: str) -> Sections:
        parts = re.split(r"^(Args|Attributes|Returns|Yields|Raises):\n", text, flags=re.MULTILINE)
        entries: dict[str, dict[str, str]] = {}
        for title, body in zip(parts[1::2], parts[2::2], strict=True):
            named = re.findall(r"^    \*{0,2}(\w+): (.*(?:\n {8}.*)*)", body, flags=re.MULTILINE)
            entries[title] = dict(named) if title not in {"Returns", "Yields"} else {"": body.strip()}
        return cls(text.partition("\n")[0], parts[0], entries)


@dataclass(frozen=True)
class Module:
    """A module of msgbus as a syntax tree."""

    name: str
    tree: ast.Module

    @cached_property
    def functions(self) -> dict[str, Function]:
        return {one.name: one for one in self.tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {one.name: one for one in self.tree.body if isinstance(one, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, str]:
        """The modules of msgbus that names are imported from, by name."""
        return {
            alias.asname or alias.name: node.module or ""
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msgbus")
            for alias in node.names
        }


@lru_cache(maxsize=500)
def module(name: str) -> Module:
    file = importlib.import_module(name).__file__
    assert file is not None
    return Module(name, ast.parse(Path(file).read_text()))


@dataclass(frozen=True)
class PublicCallable:
    """A public function, or a method of a public class."""

    where: str
    node: Function
    module: Module
    owner: ast.ClassDef | None = None

    @property
    def decorators(self) -> set[str]:
        return {ast.unparse(one).partition("(")[0] for one in self.node.decorator_list}

    @property
    def is_property(self) -> bool:
        return "property" in self.decorators

    @property
    def is_fixture(self) -> bool:
        return not self.decorators.isdisjoint({"pytest.fixture", "pytest_asyncio.fixture"})

    def parameters(self) -> dict[str, str]:
        """Return the parameters without self and cls, with their annotations."""
        given = self.node.args
        some = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        names = {one.arg: ast.unparse(one.annotation) if one.annotation else "" for one in some if one is not None}
        is_bound = self.owner is not None and "staticmethod" not in self.decorators
        return dict(list(names.items())[1:]) if is_bound else names

    @property
    def result(self) -> str:
        return ast.unparse(self.node.returns) if self.node.returns else "None"

    def raised(self) -> set[str]:
        """Return the types of errors that the function raises, by itself or by functions of msgbus that it calls."""
        return _raised(self.module, self.owner, self.node, set())


def _raised(place: Module, owner: ast.ClassDef | None, node: Function, seen: set[tuple[str, int]]) -> set[str]:
    if (place.name, node.lineno) in seen:
        return set()
    seen.add((place.name, node.lineno))
    found: set[str] = set()
    for part in _own_nodes(node):
        if isinstance(part, ast.Raise) and part.exc is not None:
            found |= _error_types(place, owner, part.exc)
        elif isinstance(part, ast.Call) and (called := _resolve(place, owner, part.func)) is not None:
            found |= _raised(*called, seen)
    return found


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts that run when the function is called, without blocks whose errors the function handles."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Try) and child.handlers:
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield part
                yield from _own_nodes(part)
            continue
        yield child
        yield from _own_nodes(child)


def _error_types(place: Module, owner: ast.ClassDef | None, raised: ast.expr) -> set[str]:
    target = raised.func if isinstance(raised, ast.Call) else raised
    name = target.id if isinstance(target, ast.Name) else ""
    if name[:1].isupper():
        return {name}
    if isinstance(raised, ast.Call) and (called := _resolve(place, owner, target)) is not None:
        returned = called[2].returns
        return {returned.id} if isinstance(returned, ast.Name) else set()
    return set()


def _resolve(
    place: Module, owner: ast.ClassDef | None, called: ast.expr
) -> tuple[Module, ast.ClassDef | None, Function] | None:
    """Return the function of msgbus that is called: of this module, imported by name, or a method of self."""
    if isinstance(called, ast.Name):
        if called.id in place.functions:
            return place, None, place.functions[called.id]
        source = place.imports.get(called.id, "")
        if source and called.id in module(source).functions:
            return module(source), None, module(source).functions[called.id]
    if owner is None or not isinstance(called, ast.Attribute) or ast.unparse(called.value) not in {"self", "cls"}:
        return None
    return next(((place, owner, one) for one in functions(owner) if one.name == called.attr), None)


def exported(package: str) -> Iterator[PublicCallable]:
    """Yield the functions, methods and properties that ``package`` exports, by its ``__all__``."""
    found = importlib.import_module(package)
    for name in found.__all__:
        one = getattr(found, name)
        home = getattr(one, "__module__", "")
        if not (isinstance(home, str) and home.startswith(("msgbus", "pytest_msgbus"))) or not hasattr(one, "__name__"):
            continue  # a constant or a type alias
        place = module(home)
        if one.__name__ in place.functions:
            yield PublicCallable(f"{home}.{name}", place.functions[one.__name__], place)
        elif one.__name__ in place.classes:
            yield from methods(place, place.classes[one.__name__])


def methods(place: Module, owner: ast.ClassDef) -> Iterator[PublicCallable]:
    """Yield the public methods of a class, and its constructor if that has a docstring."""
    for node in owner.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_special = node.name in {"__init__", "__call__"} and ast.get_docstring(node)
        if not node.name.startswith("_") or is_special:
            yield PublicCallable(f"{place.name}.{owner.name}.{node.name}", node, place, owner)


def fixtures(name: str) -> Iterator[PublicCallable]:
    """Yield the pytest fixtures of a module."""
    place = module(name)
    for node in place.functions.values():
        one = PublicCallable(f"{name}.{node.name}", node, place)
        if one.is_fixture:
            yield one


NOTHING: Final = frozenset({"None", "Self", "NoReturn", "Never", "AsyncIterator[None]"})
"""Results that need no words; the last is that of a fixture without a value."""
UNITS: Final = re.compile(r"\b(seconds?|s|bytes|messages a second|uniform in)\b", re.IGNORECASE)
UNREACHABLE: Final = {
    "msgbus.testing.plugin.watched_broker": {"AdapterNotFound"},
    "msgbus.testing.simulation.running.simulate": {"AdapterNotFound"},
}
"""Errors that a function cannot raise, although it calls one that can: the memory adapter is always installed."""
_FORWARDED: Final = re.compile(r"Arguments and errors are those of :(meth|func):`")
_IMPLEMENTS: Final = re.compile(r"Implement :(meth|attr):`")


def problems(one: PublicCallable) -> list[str]:
    """Return what the docstring of a public function lacks, in words."""
    text = ast.get_docstring(one.node)
    if not text:
        return ["there is no docstring"]
    if _IMPLEMENTS.match(text) or _FORWARDED.search(text):
        return []
    sections = Sections.parse(text)
    found = [*_of_arguments(one, sections), *_of_result(one, sections)]
    return found if one.is_fixture else [*found, *_of_errors(one, sections)]


def _of_arguments(one: PublicCallable, sections: Sections) -> list[str]:
    wanted, given = one.parameters(), sections.entries.get("Args", {})
    found = [f"Args lacks {name}" for name in wanted if name not in given]
    found += [f"Args has {name}, which is no parameter" for name in given if name not in wanted]
    return found + [
        f"Args gives no unit of {name}"
        for name, kind in wanted.items()
        if kind.startswith("float") and name in given and not UNITS.search(given[name])
    ]


def _of_result(one: PublicCallable, sections: Sections) -> list[str]:
    gives_nothing = one.result in NOTHING
    is_said = first_word(sections.summary) in {"return", "yield", "provide"} or {"Returns", "Yields"} & set(
        sections.entries
    )
    if one.is_property or gives_nothing or is_said:
        return []
    return ["Returns is missing, and the first sentence does not begin with Return"]


def _of_errors(one: PublicCallable, sections: Sections) -> list[str]:
    given = sections.entries.get("Raises", {})
    said = set(re.findall(r"\b[Rr]aises? (?:an? )?([A-Z]\w+)", sections.prose))
    unreachable = UNREACHABLE.get(one.where, set())
    return [
        f"Raises lacks {name}"
        for name in sorted(one.raised() | said)
        if not _covers(given | dict.fromkeys(unreachable, ""), name)
    ]


def _covers(given: dict[str, str], name: str) -> bool:
    kind = _error_type(name)
    return name in given or any(
        kind is not None and (base := _error_type(one)) is not None and issubclass(kind, base) for one in given
    )


def _error_type(name: str) -> type[BaseException] | None:
    errors = importlib.import_module("msgbus.errors")
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None


if __name__ == "__main__":
    others, total = share_without_verb()
    sys.stdout.write(f"docstrings of functions that begin with no verb: {others} of {total}, {others / total:.1%}\n")
