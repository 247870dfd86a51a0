"""Who may run now: at most ``concurrency`` at once, and one at a time of each key, in the order they came. Pure.

Items without a key run side by side. An item that waits for its next try keeps its lane but gives its place free, so
that a poisoned message costs its neighbours nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KeyScheduler", "Schedulable"]


class Schedulable(Protocol):
    """What runs in a lane."""

    @property
    def ordering_key(self) -> str | None:
        """Its key; None runs beside everything."""
        ...

    @property
    def passed_over(self) -> bool:
        """It has ended while it was queued, and does not run when its turn comes."""
        ...


Item = TypeVar("Item", bound=Schedulable)


class KeyScheduler(Generic[Item]):
    """The lanes of one subscription."""

    __slots__ = ("_at_gate", "_behind", "_ready", "concurrency", "gate", "running")

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.running = 0
        self.gate: Callable[[Item], bool] | None = None
        """Says whether an item may run now; None lets all run."""
        self._ready: deque[Item] = deque()
        self._at_gate: list[Item] = []
        """Items that the gate did not let through, in their order."""
        self._behind: dict[str, deque[Item] | None] = {}
        """Of each lane that has an item ahead: those behind it, None while there never were any."""

    def add(self, item: Item) -> None:
        """Queue ``item`` behind those of its lane."""
        lane = item.ordering_key
        if lane is None:
            self._ready.append(item)
        elif lane not in self._behind:
            self._behind[lane] = None
            self._ready.append(item)
        elif (behind := self._behind[lane]) is None:
            self._behind[lane] = deque((item,))
        else:
            behind.append(item)

    def next_item(self) -> Item | None:
        """The next item that may run, now running; None if there is none or no place is free."""
        while self._ready and self.running < self.concurrency:
            item = self._ready.popleft()
            if item.passed_over:
                self._advance(item.ordering_key)
            elif self.gate is not None and not self.gate(item):
                if item.passed_over:  # the gate has ended it
                    self._advance(item.ordering_key)
                else:
                    self._at_gate.append(item)
            else:
                self.running += 1
                return item
        return None

    def set_gate(self, admits: Callable[[Item], bool]) -> None:
        """Let an item run only if ``admits`` returns True for it, from now on."""
        self.gate = admits

    def remove_gate(self) -> None:
        """Let every item run again, those first that waited at the gate."""
        self.gate = None
        self.reopen_gate()

    def reopen_gate(self) -> None:
        """Put what waits at the gate back where it was: the gate may let it through now."""
        self._ready.extendleft(reversed(self._at_gate))
        self._at_gate.clear()

    @property
    def waiting(self) -> int:
        """Items that could run if they had a place."""
        return len(self._ready)

    @property
    def first_gated(self) -> Item | None:
        """The first item that waits at the gate."""
        return next((item for item in self._at_gate if not item.passed_over), None)

    @property
    def blocked(self) -> bool:
        """Whether a place is free and what is held waits for its lane, behind one that runs or was parked."""
        return bool(self._behind) and not self._ready and self.running < self.concurrency

    def finish(self, item: Item) -> None:
        """``item`` has run: its place and its lane are free."""
        self.running -= 1
        self._advance(item.ordering_key)

    def suspend(self) -> None:
        """A running item waits for its next try: its place is free, its lane is not."""
        self.running -= 1

    def resume(self, item: Item) -> None:
        """``item`` was parked and may run again, before what has not started."""
        self._ready.appendleft(item)

    def release(self, item: Item) -> None:
        """``item`` was parked and is given up: its lane is free."""
        self._advance(item.ordering_key)

    def queued_behind(self, lane: str | None) -> Iterator[Item]:
        """What waits behind the first of ``lane``."""
        return iter((self._behind.get(lane) if lane is not None else None) or ())

    def _advance(self, lane: str | None) -> None:
        if lane is None:
            return
        behind = self._behind[lane]
        while behind:
            item = behind.popleft()
            if not item.passed_over:
                self._ready.append(item)
                return
        del self._behind[lane]
