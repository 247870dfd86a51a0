"""`python -m bench`: measure, then write a JSON file and a Markdown page into bench/results."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cases import CASES
from bench.compare import by_cell
from bench.contenders import MODULES
from bench.figure import Order
from bench.gates import judge
from bench.report import gate_lines, page, told_by
from bench.rounds import Made, one_round
from bench.servers import begun, pids, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.cases.case import Case
    from tests.support.servers import Server

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmarks of the command line. The exit code does not depend on gates."""
    chosen = _parser().parse_args()
    with ExitStack() as stack:
        servers = begun(chosen.brokers, stack)
        told = versions(servers)
        made = list(_rounds(chosen, servers))
    _write(told, made)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--brokers", nargs="+", default=list(MODULES), choices=list(MODULES))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--who", nargs="+", help="only these contenders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="fraction of each case's messages")
    parser.add_argument("--quick", action="store_true", help="one round, with as few messages as a case allows")
    return parser


def _orders(
    chosen: argparse.Namespace, servers: Mapping[str, Server | None], cases: Mapping[str, Case]
) -> Iterator[Order]:
    for broker, server in servers.items():
        for name, case in cases.items():
            for who in case.contenders(broker, quick=chosen.quick):
                if not chosen.who or who in chosen.who:
                    share = chosen.share * (case.quick if chosen.quick else 1.0)
                    messages = case.count(broker, who, share)
                    url = server.url if server else "memory://"
                    yield Order(broker, who, name, url, messages, pids(server), case.patience, share)


def _rounds(chosen: argparse.Namespace, servers: Mapping[str, Server | None]) -> Iterator[Made]:
    """Yield the figures round by round, and in a round case by case; cases of one round only are last."""
    cases = {name: CASES[name] for name in chosen.cases}
    repeated = list(_orders(chosen, servers, {name: case for name, case in cases.items() if not case.once}))
    once = list(_orders(chosen, servers, {name: case for name, case in cases.items() if case.once}))
    rounds = 1 if chosen.quick else chosen.rounds
    for number, orders in [*((number, repeated) for number in range(rounds)), (0, once)]:
        for one in one_round(number, orders):
            sys.stderr.write(f"round {number + 1}: {told_by(one)}\n")
            yield one


def _write(told: Mapping[str, str], made: list[Made]) -> None:
    cells = by_cell(made)
    verdicts = judge(cells)
    RESULTS.mkdir(exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S")
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"versions": told, "figures": [asdict(one) for one in made]}, indent=1)
    )
    (RESULTS / f"{name}.md").write_text(page(told, cells, verdicts, made))
    sys.stdout.write("\n".join([*gate_lines(verdicts), f"written: bench/results/{name}.md and .json", ""]))


if __name__ == "__main__":
    main()
