"""Ledger of the points of each customer and of the purchases that are counted, shared by processes.

One transaction writes both, so that a repeated purchase counts once.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Ledger"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS handled (purchase TEXT PRIMARY KEY, member TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS points (customer TEXT PRIMARY KEY, points INTEGER NOT NULL);
"""


class Ledger:
    """A SQLite file. A call takes some ten microseconds, so callbacks call it without a thread."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        # Write-ahead log: the processes' readers and their one writer wait neither for each other nor for the disk. A
        # killed process loses nothing. A power failure may lose the last transactions, which is good enough here.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def award(self, purchase: str, customer: str, points: int, member: str) -> bool:
        """Add ``points`` for ``purchase``, once; False where the purchase is in the ledger already."""
        with self._transaction() as database:
            new = database.execute("INSERT OR IGNORE INTO handled VALUES (?, ?)", (purchase, member)).rowcount
            if new:
                database.execute(
                    "INSERT INTO points VALUES (?, ?) ON CONFLICT DO UPDATE SET points = points + excluded.points",
                    (customer, points),
                )
        return bool(new)

    def totals(self) -> dict[str, int]:
        """Return the points of each customer."""
        return dict(self._database.execute("SELECT customer, points FROM points"))

    def count(self) -> int:
        """Return the number of purchases in the ledger."""
        return int(self._database.execute("SELECT count(*) FROM handled").fetchone()[0])

    def shares(self) -> Counter[str]:
        """Return the number of purchases that each member has handled."""
        return Counter(dict(self._database.execute("SELECT member, count(*) FROM handled GROUP BY member")))

    def handled_by(self, member: str) -> set[str]:
        """Return the purchases that ``member`` has handled."""
        return {row[0] for row in self._database.execute("SELECT purchase FROM handled WHERE member = ?", (member,))}

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)


class _Transaction:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        # IMMEDIATE: a second process waits here, instead of failing later because its snapshot is old.
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("ROLLBACK" if kind else "COMMIT")
