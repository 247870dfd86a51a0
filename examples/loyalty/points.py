"""Points of a purchase, and totals to compare with."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from examples.purchases import Purchase

__all__ = ["differences", "points_for", "totals"]


def points_for(cents: int) -> int:
    """Return one point for each whole dollar."""
    return cents // 100


def totals(purchases: Iterable[Purchase]) -> dict[str, int]:
    """Sum up the points of each customer directly: the totals that the services must reach."""
    sums: Counter[str] = Counter()
    for purchase in purchases:
        sums[purchase.customer] += points_for(purchase.cents)
    return dict(sums)


def differences(expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Return a line for each customer whose points differ."""
    return [
        f"customer {customer}: {expected.get(customer, 'no')} points by the file, {found.get(customer, 'no')} found"
        for customer in sorted(expected.keys() | found.keys())
        if expected.get(customer) != found.get(customer)
    ]
