"""Report of a run, as one Markdown page."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from bench.compare import ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.compare import Cell
    from bench.figure import Figure
    from bench.gates import Verdict
    from bench.rounds import Made


PROFILED: Final = 25
"""Functions in the profile of the core."""


def page(
    versions: Mapping[str, str],
    cells: Mapping[Cell, Mapping[int, Figure]],
    verdicts: Sequence[Verdict],
    made: Sequence[Made],
) -> str:
    """Return the page: versions, gates, figures, and what failed."""
    rounds = max((one.round for one in made), default=0) + 1
    parts = [
        "# Figures of one run",
        f"`make bench`, {rounds} round{'s' * (rounds > 1)}, on: "
        + "; ".join(f"{name} {version}" for name, version in versions.items())
        + ". Medians; what is compared with what is in [performance.md](performance.md).",
        "## Gates",
        "\n".join(gate_lines(verdicts)),
        "## Figures",
        _table(cells),
    ]
    if profiles := _profiles(cells):
        parts += ["## The core by function", "Means of all rounds, in µs of CPU a message.", profiles]
    if failed := [f"- {told_by(one)}" for one in made if one.failed]:
        parts += ["## Failed", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def gate_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return one line for each gate."""
    return [f"- {one.word}: {one.gate}{'' if one.seen is None else f' (seen {number(one.seen)})'}" for one in verdicts]


def told_by(one: Made) -> str:
    """Return the line of one figure."""
    told = f"FAILED: {one.failed}" if one.figure is None else f"{number(one.figure.value)} {one.figure.unit}"
    return f"{one.broker}: {one.case}: {one.contender}: {told} ({one.seconds:.1f} s)"


def number(value: float) -> str:
    """Format a number with three significant digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _table(cells: Mapping[Cell, Mapping[int, Figure]]) -> str:
    head = "| broker | case | who | figure | msgbus by it | client CPU-s / 100k | server CPU-s / 100k | |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *(_row(cell, cells) for cell in cells)])


def _row(cell: Cell, cells: Mapping[Cell, Mapping[int, Figure]]) -> str:
    figures = list(cells[cell].values())
    ours = ratio(cells.get((*cell[:2], "msgbus"), {}), cells[cell])
    columns = [
        *cell,
        f"{number(median(figure.value for figure in figures))} {figures[0].unit}",
        "" if ours is None or cell[2] == "msgbus" else f"{ours:.2f}",
        _each([figure.client_cpu / figure.messages for figure in figures if figure.is_rate]),
        _each([figure.server_cpu / figure.messages for figure in figures if figure.is_rate]),
        _extra(figures),
    ]
    return f"| {' | '.join(columns)} |"


def _profiles(cells: Mapping[Cell, Mapping[int, Figure]]) -> str:
    """Return a column for each broker; the functions that take most are first."""
    columns = {
        cell[0]: [figure.profile for figure in figures.values()]
        for cell, figures in cells.items()
        if any(figure.profile for figure in figures.values())
    }
    functions = {name for profiles in columns.values() for profile in profiles for name in profile}
    means = {
        name: [sum(one.get(name, 0.0) for one in profiles) / len(profiles) for profiles in columns.values()]
        for name in functions
    }
    most = sorted(functions, key=lambda name: -sum(means[name]))[:PROFILED]
    rows = [f"| `{name}` | {' | '.join(f'{mean:.2f}' for mean in means[name])} |" for name in most]
    head = [f"| function | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(head + rows) if columns else ""


def _each(seconds: Sequence[float]) -> str:
    return f"{median(seconds) * 1e5:.2f}" if seconds else ""


def _extra(figures: Sequence[Figure]) -> str:
    names = dict.fromkeys(name for figure in figures for name in figure.extra)
    seen = {name: median(figure.extra[name] for figure in figures if name in figure.extra) for name in names}
    return "; ".join(f"{name} {number(value)}" for name, value in seen.items())
