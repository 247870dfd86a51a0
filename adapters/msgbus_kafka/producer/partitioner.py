"""Partitioner: by key as Java's client does, round robin without a key."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from aiokafka.partitioner import murmur2

if TYPE_CHECKING:
    from collections.abc import Sequence


class Partitioner:
    """Chooses partitions: by key as Java's client does, round robin without a key.

    aiokafka's own partitioner chooses at random, which leaves members unequal for a while.
    """

    def __init__(self) -> None:
        self._turn = 0

    def partition(self, key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
        """Return the partition for ``key``; without a key, one of the ``available`` ones."""
        if key is not None:
            return partitions[_murmur2(key) % len(partitions)]
        self._turn += 1
        choice = available or partitions
        return choice[self._turn % len(choice)]


@lru_cache(maxsize=10_000)
def _murmur2(key: bytes) -> int:
    """Return Java's hash of ``key``. aiokafka's is pure Python: 3 µs, and keys repeat."""
    hashed: int = murmur2(key)
    return hashed & 0x7FFFFFFF
