"""`python -m bench`: measure, and write a JSON file and a Markdown page into bench/results."""

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
from bench.report import gate_lines, page
from bench.rounds import Made, one_round
from bench.servers import begun, pids, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers import Server

RESULTS = Path(__file__).parent / "results"
LEAST = 100


def main() -> None:
    """Run what was asked for; the exit code says nothing of gates."""
    chosen = _parser().parse_args()
    with ExitStack() as stack:
        servers = begun(chosen.brokers, stack)
        orders = [one for broker in chosen.brokers for one in _orders(chosen, broker, servers[broker])]
        made = list(_rounds(chosen.rounds, orders))
        told = versions(servers)
    _write(told, made)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--brokers", nargs="+", default=list(MODULES), choices=list(MODULES))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--who", nargs="+", help="only these contenders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of each case's messages")
    return parser


def _orders(chosen: argparse.Namespace, broker: str, server: Server | None) -> Iterator[Order]:
    url = server.url if server else "memory://"
    for case in chosen.cases:
        if broker in CASES[case].messages:
            for who in MODULES[broker]:
                if CASES[case].suits(who) and (not chosen.who or who in chosen.who):
                    messages = max(LEAST, int(CASES[case].count(broker, who) * chosen.share))
                    yield Order(broker, who, case, url, messages, pids(server))


def _rounds(count: int, orders: list[Order]) -> Iterator[Made]:
    """All contenders of a case one after another, case by case, then the next round."""
    for number in range(count):
        for one in one_round(number, orders):
            told = f"{one.figure.rate:,.0f} msg/s" if one.figure else f"FAILED: {one.failed}"
            sys.stderr.write(f"round {number + 1}: {one.broker}: {one.case}: {one.contender}: {told}\n")
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
