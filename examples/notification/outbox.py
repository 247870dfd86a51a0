"""Outbox of messages to customers: one per award, however often the award is delivered."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Outbox"]


class Outbox:
    """A SQLite file with one row per award."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS outbox (award TEXT PRIMARY KEY, customer TEXT, points INTEGER)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def write(self, award: str, customer: str, points: int) -> bool:
        """Write a message to ``customer``; False where this award's message is written already."""
        row = (award, customer, points)
        return bool(self._database.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?)", row).rowcount)

    def totals(self) -> dict[str, int]:
        """Return the points of each customer, as the messages name them."""
        return dict(self._database.execute("SELECT customer, sum(points) FROM outbox GROUP BY customer"))

    def count(self) -> int:
        """Return the number of messages."""
        return int(self._database.execute("SELECT count(*) FROM outbox").fetchone()[0])
