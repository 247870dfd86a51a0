"""Rounds: in each, all figures are measured, one process after another; every other round runs backwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from bench.figure import Figure, Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARGIN: Final = 60.0
"""Seconds of a figure besides its work: to start, to publish a backlog, to clean up."""


@dataclass(frozen=True)
class Made:
    """A figure with its round, case and contender; ``failed`` says why there is none."""

    broker: str
    case: str
    contender: str
    round: int
    figure: Figure | None
    failed: str = ""
    seconds: float = 0.0
    """Seconds that it took, with everything that is not measured."""


def one_round(number: int, orders: Sequence[Order]) -> Iterator[Made]:
    """Measure every order once."""
    return (_made(number, order) for order in turned(number, orders))


def turned(number: int, orders: Sequence[Order]) -> Sequence[Order]:
    """Return the orders, in odd rounds backwards, so that no contender always follows the same one."""
    return orders if number % 2 == 0 else orders[::-1]


def _made(number: int, order: Order) -> Made:
    begun = time.monotonic()
    try:
        figure, failed = run(order), ""
    except (subprocess.SubprocessError, ValueError) as error:
        figure, failed = None, _why(error)
    return Made(order.broker, order.case, order.contender, number, figure, failed, time.monotonic() - begun)


def run(order: Order) -> Figure:
    """Measure a figure in a process of its own. Raises CalledProcessError, TimeoutExpired."""
    command = [sys.executable, "-m", "bench.measure", json.dumps(asdict(order))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=order.patience + MARGIN, check=True)  # noqa: S603
    return Figure(**json.loads(ran.stdout))


def _why(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    return (told or str(error)).strip().splitlines()[-1]
