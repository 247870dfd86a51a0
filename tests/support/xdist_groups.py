"""Which tests run side by side under pytest-xdist (`make test`): by rule, from the names of the tests alone.

Workers share nothing but the machine's time: each starts servers of its own, on free ports and in folders of their
own, when its first test asks for one. So a group locks nothing. It is what one worker runs in one go, so that the
server of a file is started once for many tests; and it is short, so that nobody is left with much at the end.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Group", "SideBySide", "grouped"]

BROKERS: Final = ("kafka", "rabbitmq", "redis", "")
"""That a test is for, the slowest to wait for first."""
SIZE: Final = 16
"""Tests in a group, at most."""
WHOLE: Final = "tests/mutation/"
"""Here a fixture prepares the tests of all the file at once: they stay together."""
QUICK: Final = "/unit/"
"""Tests here wait for nothing."""


@dataclass(frozen=True)
class Group:
    """Tests of one file with one broker."""

    path: str
    broker: str
    tests: Sequence[str]


def grouped(nodeids: Iterable[str]) -> list[Group]:
    """All of them, in the order to begin them in.

    What takes long is begun early: in a file of few tests each is a long story, and what is left for the end is that of
    which there is most and which is cut smallest.
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for nodeid in nodeids:
        found[nodeid.partition("::")[0], _broker(nodeid)].append(nodeid)
    sizes = Counter[str]()
    for (path, _), tests in found.items():
        sizes[path] += len(tests)
    turns = sorted(found, key=lambda key: (QUICK in key[0], sizes[key[0]], key[0], BROKERS.index(key[1])))
    return [
        Group(path, broker, tests)
        for path, broker in turns
        for tests in _cut(found[path, broker], sizes[path] if path.startswith(WHOLE) else SIZE)
    ]


def _broker(nodeid: str) -> str:
    """The broker that a test's parameters name, else its file; "" if none does."""
    path, _, name = nodeid.partition("::")
    parameters = re.split(r"[\[\]-]", name)[1:]
    words = re.split(r"[_./]", path)
    return next((word for word in (*parameters, *words) if word and word in BROKERS), "")


def _cut(tests: Sequence[str], size: int) -> list[Sequence[str]]:
    """In pieces of at most this size, as equal as can be."""
    pieces = -(-len(tests) // size)
    return [tests[begin:end] for begin, end in pairwise(len(tests) * at // pieces for at in range(pieces + 1))]


class SideBySide(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Groups for whoever is free: first more of the file and broker it has just had, then what nobody has begun."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        self._groups: list[Group] = []
        self._numbers: dict[str, int] = {}  # of the group that a test is in
        self._latest: dict[Any, tuple[str, str]] = {}  # file and broker, of each worker

    def schedule(self) -> None:
        """Implement :meth:`LoadScopeScheduling.schedule`.

        Called first when everything is collected.
        """
        if not self._groups:
            self._groups = grouped(next(iter(self.registered_collections.values())))
            self._numbers = {test: at for at, group in enumerate(self._groups) for test in group.tests}
        super().schedule()

    def _split_scope(self, nodeid: str) -> int:
        return self._numbers[nodeid]

    def _assign_work_unit(self, node: Any) -> None:
        number = min(self.workqueue, key=lambda number: (self._standing(number, node), number))
        self._latest[node] = self._kind(number)
        self.workqueue.move_to_end(number, last=False)
        super()._assign_work_unit(node)

    def _standing(self, number: int, node: Any) -> int:
        """0: what this worker has a server for; 1: what no other has; 2: the rest."""
        kind = self._kind(number)
        return 0 if self._latest.get(node) == kind else 2 if kind in self._latest.values() else 1

    def _kind(self, number: int) -> tuple[str, str]:
        return self._groups[number].path, self._groups[number].broker

    def _reschedule(self, node: Any) -> None:
        """When one test is left to it, not two: what is given out waits, while others may be free."""
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)
