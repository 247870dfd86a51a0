"""Rounds: in each, every contender makes its figure, one process after another; every other round backwards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from bench.figure import Figure, Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE: Final = 100.0


@dataclass(frozen=True)
class Made:
    """A figure and what it is of; ``failed`` says why there is none."""

    broker: str
    case: str
    contender: str
    round: int
    figure: Figure | None
    failed: str = ""


def one_round(number: int, orders: Sequence[Order]) -> Iterator[Made]:
    """Every order once; in odd rounds from the last to the first, so that nobody always comes after the same one."""
    ordered = orders if number % 2 == 0 else list(reversed(orders))
    return (_made(number, order) for order in ordered)


def _made(number: int, order: Order) -> Made:
    try:
        figure, failed = run(order), ""
    except (subprocess.SubprocessError, ValueError) as error:
        figure, failed = None, _why(error)
    return Made(order.broker, order.case, order.contender, number, figure, failed)


def run(order: Order) -> Figure:
    """The figure of one process. Raises CalledProcessError, TimeoutExpired."""
    command = [sys.executable, "-m", "bench.figure", json.dumps(asdict(order))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
    return Figure(**json.loads(ran.stdout))


def _why(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    return (told or str(error)).strip().splitlines()[-1]
