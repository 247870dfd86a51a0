"""What a run has to say, as one Markdown page."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.compare import ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.compare import Cell
    from bench.figure import Figure
    from bench.gates import Verdict
    from bench.rounds import Made


def page(
    versions: Mapping[str, str],
    cells: Mapping[Cell, Mapping[int, Figure]],
    verdicts: Sequence[Verdict],
    made: Sequence[Made],
) -> str:
    """Versions, figures, gates, and what failed."""
    parts = [
        "; ".join(f"{name} {version}" for name, version in versions.items()),
        _table(cells),
        "\n".join(gate_lines(verdicts)),
        "\n".join(f"- {one.broker}: {one.case}: {one.contender}: {one.failed}" for one in made if one.failed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def gate_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line for each gate."""
    return [f"- {one.word}: {one.gate}{'' if one.seen is None else f' (seen {one.seen:.3g})'}" for one in verdicts]


def _table(cells: Mapping[Cell, Mapping[int, Figure]]) -> str:
    head = "| broker | case | who | msg/s | msgbus by it | client CPU-s / 100k | server CPU-s / 100k | |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *(_row(cell, cells) for cell in cells)])


def _row(cell: Cell, cells: Mapping[Cell, Mapping[int, Figure]]) -> str:
    figures = cells[cell].values()
    ours = ratio(cells.get((*cell[:2], "msgbus"), {}), cells[cell])
    columns = [
        *cell,
        f"{median(figure.rate for figure in figures):,.0f}",
        "" if ours is None or cell[2] == "msgbus" else f"{ours:.2f}",
        f"{median(figure.client_cpu / figure.messages * 1e5 for figure in figures):.2f}",
        f"{median(figure.server_cpu / figure.messages * 1e5 for figure in figures):.2f}",
        _extra(list(figures)),
    ]
    return f"| {' | '.join(columns)} |"


def _extra(figures: Sequence[Figure]) -> str:
    names = dict.fromkeys(name for figure in figures for name in figure.extra)
    seen = {name: median(figure.extra[name] for figure in figures if name in figure.extra) for name in names}
    return "; ".join(f"{name} {value:.3g}" for name, value in seen.items())
