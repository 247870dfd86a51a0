"""CONFORMANCE.md: results of the contract cases on each version of each server, read, compared, merged and written.

The page has no dates. `python -m tests.support.conformance` rewrites it from itself: rows in the order of the cases,
counts from the cells.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgbus.testing import CASES
from pytest_msgbus import NOT_OFFERED
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = ROOT / "CONFORMANCE.md"
NOT_RUN = "not run"
UNCOUNTED = {NOT_RUN, NOT_OFFERED}
Verdict = Literal["passed", "failed", "not run", "not offered"]
Results = dict[str, dict[str, str]]
"""Server, such as "Redis 7.0.15" -> case -> verdict."""

_ORDER = ("memory", "Redis", "Valkey", "RabbitMQ", "Kafka")
_HEAD = """# Conformance

What each case of the [contract](msgbus/testing/cases) gave on each version of each server, run by `make conformance`.
`make test` compares what it runs with this page and fails where they differ; [CONTRIBUTING.md](CONTRIBUTING.md) says
how to renew it. "Not offered" is what the server's harness has no means to provoke; it is counted as nothing.
"""


@dataclass
class Conformance:
    """The page as data; `cases` are its rows, in order."""

    cases: Sequence[str] = ()
    results: Results = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Conformance:
        """What `text` says; nothing where there is no table yet."""
        lines = [_cells(line) for line in text.splitlines() if line.startswith("|")]
        if not lines:
            return cls()
        servers, rows = lines[0][1:], [row for row in lines[1:] if row[0].startswith("`")]
        results: Results = {
            server: {row[0].strip("`"): row[at] for row in rows} for at, server in enumerate(servers, 1)
        }
        return cls([row[0].strip("`") for row in rows], results)

    def merged(self, fresh: Mapping[str, Mapping[str, str]], cases: Sequence[str]) -> Conformance:
        """With these results in it and exactly these cases; what was not run keeps what it says."""
        servers = sorted({*self.results, *fresh}, key=_place)
        known = {server: {**self.results.get(server, {}), **fresh.get(server, {})} for server in servers}
        return Conformance(
            cases, {server: {case: known[server].get(case, NOT_RUN) for case in cases} for server in servers}
        )

    def differences(self, fresh: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Where these results say something else. A version that has no column is not compared."""
        return [
            f"{server}: {case}: {verdict} now, {said} in CONFORMANCE.md"
            for server, verdicts in fresh.items()
            if server in self.results
            for case, verdict in verdicts.items()
            if (said := self.results[server].get(case, "missing")) != verdict
        ]

    def text(self) -> str:
        """The page."""
        servers = list(self.results)
        counted = [["passed", *(self._count(server) for server in servers)]]
        rows = [[f"`{case}`", *(self.results[server][case] for server in servers)] for case in self.cases]
        table = [["case", *servers], ["---"] * (len(servers) + 1), *counted, *rows]
        return _HEAD + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in table)

    def _count(self, server: str) -> str:
        counts = Counter(verdict for verdict in self.results[server].values() if verdict not in UNCOUNTED)
        return f"{counts['passed']} of {sum(counts.values())}"


def names() -> list[str]:
    """The cases there are."""
    return [case.__name__ for case in CASES]


def label(broker: str, version: str) -> str:
    """What a column is called: "Kafka 4.1" of "kafka" and "4.1 (metadata.version 27)"."""
    if broker == "memory":
        return broker
    if version.startswith("Valkey"):
        return version
    kind = {"redis": "Redis", "rabbitmq": "RabbitMQ", "kafka": "Kafka"}[broker]
    return f"{kind} {version.split(' ', maxsplit=1)[0]}"


def stored() -> Conformance:
    """The committed page."""
    return Conformance.read(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "")


def store(fresh: Mapping[str, Mapping[str, str]]) -> None:
    """Merge these into the page."""
    PAGE.write_text(stored().merged(fresh, names()).text(), encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n ").split("|")]


def _place(server: str) -> tuple[int, list[int]]:
    broker, _, version = server.partition(" ")
    return _ORDER.index(broker), [int(number) for number in re.findall(r"\d+", version)]


if __name__ == "__main__":
    store({})
    sys.stdout.write(f"{PAGE.name}: {len(names())} cases\n")
