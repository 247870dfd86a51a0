"""The data set: a file of one purchase a line, with or without a header line."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MOST", "DataError", "Purchase", "read"]

MOST: Final = 100_000
"""Purchases in a file at most."""
COLUMNS: Final = 5


class DataError(Exception):
    """The file has another format; the text names the file and the line."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase. ``id`` is the number of its line, since lines may be equal; ``cents`` are US cents."""

    id: int
    customer: str
    cents: int


def read(path: Path) -> list[Purchase]:
    """Read all purchases of a file. Raises DataError, or OSError where the file cannot be read."""
    purchases = list(_purchases(path))
    if not 1 <= len(purchases) <= MOST:
        raise DataError(f"{path}: {len(purchases):,} purchases; 1 to {MOST:,} are possible")
    return purchases


def _purchases(path: Path) -> Iterator[Purchase]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.split()
            if columns and not (number == 1 and _is_header(columns)):
                yield _purchase(columns, number, path)


def _is_header(columns: list[str]) -> bool:
    return not any(column.replace(".", "").isdigit() for column in columns)


def _purchase(columns: list[str], number: int, path: Path) -> Purchase:
    if len(columns) != COLUMNS:
        raise DataError(f"{path}, line {number}: {len(columns)} columns, {COLUMNS} are expected")
    try:
        cents = Decimal(columns[4]) * 100
    except InvalidOperation:
        raise DataError(f"{path}, line {number}: {columns[4]!r} is not an amount") from None
    if not cents.is_finite() or cents < 0 or cents != int(cents):
        raise DataError(f"{path}, line {number}: {columns[4]!r} is not an amount in dollars and cents")
    return Purchase(number, columns[0], int(cents))
