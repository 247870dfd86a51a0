"""Gates: limits for msgbus' figures. They are reported and not enforced, since a machine's noise is not a defect."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.compare import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.compare import Cell
    from bench.figure import Figure

AWAITING: Final = "publish, awaiting each"
FLIGHT: Final = "publish, 100 in flight"
TRIVIAL: Final = "consume, trivial callback"
KEYED: Final = "consume, 10 ms, 1000 keys"
LATENCY: Final = "latency at 200 a second"
OWNER: Final = "CPU by owner"
BACKLOG: Final = "a backlog of 1,000,000"


@dataclass(frozen=True)
class Gate:
    """A limit for msgbus in one case, by its ratio to ``peer`` or alone: at least ``limit``, with ``most`` at most."""

    broker: str
    case: str
    limit: float
    peer: str = ""
    value: str = "rate"
    most: bool = False

    def __str__(self) -> str:
        what = f"{self.value} against {self.peer}" if self.peer else self.value
        return f"{self.broker}: {self.case}: {what} {'≤' if self.most else '≥'} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """A gate and the measured value; None where it was not measured."""

    gate: Gate
    seen: float | None

    @property
    def word(self) -> str:
        """``pass``, ``fail`` or ``not measured``."""
        if self.seen is None:
            return "not measured"
        held = self.seen <= self.gate.limit if self.gate.most else self.seen >= self.gate.limit
        return "pass" if held else "fail"


def value_of(figure: Figure, name: str) -> float:
    """Return the value of a gate: the figure's own, named "rate" or by its unit, or one of the case's extra values."""
    return figure.value if name in {"rate", figure.unit} else figure.extra[name]


def judge(cells: Mapping[Cell, Mapping[int, Figure]]) -> list[Verdict]:
    """Judge every gate of the brokers that were measured."""
    brokers = {broker for broker, _, _ in cells}
    return [Verdict(gate, _seen(gate, cells)) for gate in GATES if gate.broker in brokers]


def _seen(gate: Gate, cells: Mapping[Cell, Mapping[int, Figure]]) -> float | None:
    ours = cells.get((gate.broker, gate.case, "msgbus"), {})
    if gate.peer:
        theirs = cells.get((gate.broker, gate.case, gate.peer), {})
        return ratio(ours, theirs, lambda figure: value_of(figure, gate.value))
    values = [value_of(figure, gate.value) for figure in ours.values()]
    return (max(values) if gate.value == "order violations" else median(values)) if values else None


def _of_broker(broker: str, limits: tuple[float, ...], share: float, waiting: str = "raw") -> Iterator[Gate]:
    awaiting, flight, peer, each, batch, least = limits
    yield Gate(broker, AWAITING, awaiting, "raw")
    yield Gate(broker, FLIGHT, flight, "raw")
    yield Gate(broker, FLIGHT, peer, "faststream")
    yield Gate(broker, TRIVIAL, each, "raw")
    yield Gate(broker, TRIVIAL, batch, "raw batch")
    yield Gate(broker, TRIVIAL, least, "faststream")
    yield Gate(broker, KEYED, share, value="share of the ideal")
    yield Gate(broker, KEYED, 0, value="order violations", most=True)
    yield Gate(broker, LATENCY, 1.3, waiting, value="p50 ms", most=True)
    yield Gate(broker, OWNER, 10, value="core µs a message", most=True)
    yield Gate(broker, BACKLOG, 20, value="MB apart", most=True)


GATES: Final = (
    Gate("memory", "import", 60, value="ms more", most=True),
    Gate("memory", "one after another", 10, value="µs a message", most=True),
    Gate("memory", "keyed", 25, value="µs a message", most=True),
    Gate("memory", OWNER, 10, value="core µs a message", most=True),
    *_of_broker("redis", (0.90, 2.2, 3, 5, 0.40, 12), share=0.70),
    *_of_broker("rabbitmq", (0.90, 1.0, 1.25, 1.4, 0.80, 2.1), share=0.45),
    *_of_broker("kafka", (0.90, 0.90, 1.7, 100, 0.60, 100), share=0.70, waiting="raw ticking"),
    Gate("kafka", TRIVIAL, 1.5, "faststream auto-commit"),
)
