"""Names for messages: 128 random bits each, drawn many at a time since asking the system takes half a microsecond."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["MessageIds"]

IDS_PER_DRAW: Final = 64
"""Ids of one call of the system."""
_ID_BYTES: Final = 16


_supplies: Final[WeakSet[MessageIds]] = WeakSet()
"""What a forked process must not use, since its parent has drawn it."""


def _forked() -> None:
    for one in _supplies:
        one.discard_drawn()


os.register_at_fork(after_in_child=_forked)


class MessageIds:
    """An endless supply; no two are equal, not in processes forked from this one either."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._drawn: Iterator[str] = iter(())
        _supplies.add(self)

    def next_id(self) -> str:
        """The next one, 32 hexadecimal digits."""
        for one in self._drawn:
            return one
        self._drawn = iter(self._random.randbytes(IDS_PER_DRAW * _ID_BYTES).hex(" ", _ID_BYTES).split())
        return next(self._drawn)

    def discard_drawn(self) -> None:
        """Draw anew at the next one."""
        self._drawn = iter(())
