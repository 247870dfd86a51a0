"""Medians, and ratios paired in one round: the same case varies by half between runs, much less within a round."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.figure import Figure
    from bench.rounds import Made

Cell = tuple[str, str, str]
"""Broker, case, contender."""


def by_cell(made: Iterable[Made]) -> Mapping[Cell, Mapping[int, Figure]]:
    """Return the figures of each cell by round; rounds without a figure are left out."""
    cells: dict[Cell, dict[int, Figure]] = defaultdict(dict)
    for one in made:
        if one.figure is not None:
            cells[one.broker, one.case, one.contender][one.round] = one.figure
    return cells


def ratio(
    ours: Mapping[int, Figure], theirs: Mapping[int, Figure], value: Callable[[Figure], float] | None = None
) -> float | None:
    """Return the median of the ratios of ours to theirs, round by round; None where no round has both."""
    of = value or (lambda figure: figure.value)
    return middle([of(ours[number]) / of(theirs[number]) for number in ours.keys() & theirs.keys()])


def middle(values: Sequence[float]) -> float | None:
    """Return the median; None of no values."""
    return median(values) if values else None
