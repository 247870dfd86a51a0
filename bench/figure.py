"""Order and figure: what is to be measured, and the result."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Order:
    """One figure to be measured, for a process of its own."""

    broker: str
    contender: str
    case: str
    url: str
    messages: int
    server: list[int]
    """The pids whose CPU counts as the server's."""
    patience: float = 60.0
    """Seconds that the work may take."""
    share: float = 1.0
    """Fraction of the case's messages."""


@dataclass(frozen=True)
class Figure:
    """The result: ``value`` in ``unit``. Times are seconds for all messages together."""

    messages: int
    elapsed: float
    client_cpu: float
    server_cpu: float
    value: float
    unit: str = "msg/s"
    extra: dict[str, float] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    """µs of CPU a message, by function."""

    @property
    def is_rate(self) -> bool:
        """Whether the figure is messages a second: more is better, and the CPU is divided by messages."""
        return self.unit == "msg/s"
