"""Message ids: 128 random bits each, drawn in batches since one call of the system takes half a microsecond."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["MessageIds"]

IDS_PER_DRAW: Final = 64
"""Ids drawn in one call of the system."""
_ID_BYTES: Final = 16


_supplies: Final[WeakSet[MessageIds]] = WeakSet()
"""All suppliers: a forked process must discard what its parent has drawn."""


def _forked() -> None:
    for one in _supplies:
        one.discard_drawn()


os.register_at_fork(after_in_child=_forked)


class MessageIds:
    """Supplies unique message ids, in forked processes too."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._drawn: Iterator[str] = iter(())
        _supplies.add(self)

    def next_id(self) -> str:
        """Return a new id: 32 hexadecimal digits."""
        for one in self._drawn:
            return one
        self._drawn = iter(self._random.randbytes(IDS_PER_DRAW * _ID_BYTES).hex(" ", _ID_BYTES).split())
        return next(self._drawn)

    def discard_drawn(self) -> None:
        """Discard the ids that are drawn and not used."""
        self._drawn = iter(())
