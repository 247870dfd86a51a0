"""What a purchase is worth."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from examples.purchases import Purchase

__all__ = ["differences", "points_for", "totals"]


def points_for(cents: int) -> int:
    """One point for each whole dollar."""
    return cents // 100


def totals(purchases: Iterable[Purchase]) -> dict[str, int]:
    """Points per customer by a direct sum: what the services must arrive at."""
    sums: Counter[str] = Counter()
    for purchase in purchases:
        sums[purchase.customer] += points_for(purchase.cents)
    return dict(sums)


def differences(expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """A line for each customer whose points are not as expected."""
    return [
        f"customer {customer}: {expected.get(customer, 'no')} points by the file, {found.get(customer, 'no')} found"
        for customer in sorted(expected.keys() | found.keys())
        if expected.get(customer) != found.get(customer)
    ]
