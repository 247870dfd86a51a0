"""Key scheduler: which deliveries may run now. Pure.

- At most ``concurrency`` items run at the same time; of each ordering key one at a time, in order of arrival.
- Items without a key run in parallel.
- An item that waits for an immediate retry still occupies its ordering key but no worker, so that a bad message does
  not delay messages of other keys.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KeyScheduler", "Schedulable"]


class Schedulable(Protocol):
    """An item that the scheduler can run."""

    @property
    def ordering_key(self) -> str | None:
        """The ordering key; None runs in parallel with everything."""
        ...

    @property
    def passed_over(self) -> bool:
        """Whether it ended while it was queued: it is skipped when its turn comes."""
        ...


Item = TypeVar("Item", bound=Schedulable)


class KeyScheduler(Generic[Item]):
    """Queues of one subscription, one for each ordering key."""

    __slots__ = ("_at_gate", "_behind", "_ready", "concurrency", "gate", "running")

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.running = 0
        self.gate: Callable[[Item], bool] | None = None
        """Returns whether an item may run now; None lets every item run."""
        self._ready: deque[Item] = deque()
        self._at_gate: list[Item] = []
        """Items that the gate has refused, in order."""
        self._behind: dict[str, deque[Item] | None] = {}
        """For each occupied ordering key: the items behind its first one; None while there were none."""

    def add(self, item: Item) -> None:
        """Queue ``item`` behind the other items of its ordering key."""
        key = item.ordering_key
        if key is None:
            self._ready.append(item)
        elif key not in self._behind:
            self._behind[key] = None
            self._ready.append(item)
        elif (behind := self._behind[key]) is None:
            self._behind[key] = deque((item,))
        else:
            behind.append(item)

    def next_item(self) -> Item | None:
        """Return the next item, which counts as running now; None if none may run or all workers are busy."""
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
        """Put the items that the gate has refused back in front: the gate may let them run now."""
        self._ready.extendleft(reversed(self._at_gate))
        self._at_gate.clear()

    @property
    def waiting(self) -> int:
        """Number of items that could run if workers were free."""
        return len(self._ready)

    @property
    def first_gated(self) -> Item | None:
        """The first item that the gate has refused."""
        return next((item for item in self._at_gate if not item.passed_over), None)

    @property
    def blocked(self) -> bool:
        """Whether a worker is idle although items wait: their ordering keys are occupied."""
        return bool(self._behind) and not self._ready and self.running < self.concurrency

    def finish(self, item: Item) -> None:
        """Free the worker and the ordering key of ``item``, which has run."""
        self.running -= 1
        self._advance(item.ordering_key)

    def suspend(self) -> None:
        """Free the worker of a running item that waits for its immediate retry; its ordering key stays occupied."""
        self.running -= 1

    def resume(self, item: Item) -> None:
        """Run ``item``, which was suspended, again, before items that have not started."""
        self._ready.appendleft(item)

    def release(self, item: Item) -> None:
        """Free the ordering key of ``item``, which was suspended and has ended."""
        self._advance(item.ordering_key)

    def queued_behind(self, key: str | None) -> Iterator[Item]:
        """Iterate over the items behind the first one of an ordering key."""
        return iter((self._behind.get(key) if key is not None else None) or ())

    def _advance(self, key: str | None) -> None:
        if key is None:
            return
        behind = self._behind[key]
        while behind:
            item = behind.popleft()
            if not item.passed_over:
                self._ready.append(item)
                return
        del self._behind[key]
