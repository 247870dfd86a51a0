"""Groups of tests for pytest-xdist (`make test`), derived from the names of the tests alone.

Workers share nothing but the machine's time: each starts its own servers, on free ports and in its own folders, when
its first test needs one. So a group needs no lock. A group is what one worker runs in one go:

- tests of one file and one broker, so that the file's server is started once for many tests,
- at most 16 tests, so that no worker has much left at the end.
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
"""Brokers that a test can be for, the slowest first."""
SIZE: Final = 16
"""Most tests in a group."""
WHOLE: Final = "tests/mutation/"
"""In this folder a fixture prepares all tests of a file at once: they stay in one group."""
QUICK: Final = "/unit/"
"""Tests in this folder wait for no server; they run last."""


@dataclass(frozen=True)
class Group:
    """Tests of one file with one broker."""

    path: str
    broker: str
    tests: Sequence[str]


def grouped(nodeids: Iterable[str]) -> list[Group]:
    """Group all tests, in the order in which to begin them.

    Long tests begin early: a file with few tests has long ones. Files with many tests are cut into many groups and
    fill the end.
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
    """Return the broker that a test's parameters name, else its path; "" if neither does."""
    path, _, name = nodeid.partition("::")
    parameters = re.split(r"[\[\]-]", name)[1:]
    words = re.split(r"[_./]", path)
    return next((word for word in (*parameters, *words) if word and word in BROKERS), "")


def _cut(tests: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut ``tests`` into pieces of at most ``size``, as equal as possible."""
    pieces = -(-len(tests) // size)
    return [tests[begin:end] for begin, end in pairwise(len(tests) * at // pieces for at in range(pieces + 1))]


class SideBySide(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Scheduler: a free worker gets a group of its latest file and broker, else of a file that no worker runs."""

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
        """Rank a group: 0 if this worker has its server, 1 if no worker has, 2 otherwise."""
        kind = self._kind(number)
        return 0 if self._latest.get(node) == kind else 2 if kind in self._latest.values() else 1

    def _kind(self, number: int) -> tuple[str, str]:
        return self._groups[number].path, self._groups[number].broker

    def _reschedule(self, node: Any) -> None:
        """When one test is left to it, not two: what is given out waits, while others may be free."""
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)
