"""Reports on dead letters. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from msgbus.operations.dead_letters import DeadLetter

__all__ = ["age", "detailed", "grouped"]


def grouped(letters: Sequence[DeadLetter], now: datetime) -> list[dict[str, Any]]:
    """Return one row for each type of error, the most frequent first."""
    groups: dict[str, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        groups[letter.error_type or letter.reason or "unknown"].append(letter)
    rows = sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))
    return [_row(error, some, now) for error, some in rows]


def _row(error: str, letters: Sequence[DeadLetter], now: datetime) -> dict[str, Any]:
    times = [letter.last_failure for letter in letters if letter.last_failure is not None]
    return {
        "error": error,
        "letters": len(letters),
        "oldest": age(min(times), now) if times else "",
        "newest": age(max(times), now) if times else "",
        "looping": sum(letter.looping for letter in letters),
        "example": letters[0].error_message[:80] or letters[0].reason[:80],
    }


def age(at: datetime, now: datetime) -> str:
    """Return how long ago ``at`` was, in its largest unit."""
    seconds = max((now - at).total_seconds(), 0.0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def detailed(letter: dict[str, Any]) -> Panel:
    """Return a panel with all fields of one dead letter."""
    lines = [f"[bold]{name}[/bold] {escape(str(value))}" for name, value in letter.items() if value or value == 0]
    return Panel("\n".join(lines), title=escape(f"message {letter['id']}"), title_align="left")
