"""What a lost channel had in hand and the server has not sent again: what is newer of the same keys waits for it.

A server that was killed, or has not noticed that a connection is gone, may serve the next channel before it takes back
what the last one had. It takes back all of a channel at once, and what came back goes out before anything else. Pure.

What it had sent and the channel never showed has no name here: for that the session waits before it consumes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection, Iterable

__all__ = ["DETECTED_LOSS_WAIT_SECONDS", "UNDETECTED_LOSS_WAIT_SECONDS", "ExpectedRedeliveries", "OrderedDelivery"]

DETECTED_LOSS_WAIT_SECONDS: Final = 5.0
"""Seconds for what was lost with a connection that the other side ended: it knows, and is only busy."""
UNDETECTED_LOSS_WAIT_SECONDS: Final = 35.0
"""Seconds where it may not know: its heartbeat tells it within 30."""
_HERE: Final = 0


class OrderedDelivery(Protocol):
    """A delivery of the server's, as far as its order goes."""

    @property
    def key(self) -> str | None:
        """Its key."""
        ...

    @property
    def id(self) -> str:
        """The same at every delivery; empty where the publisher gave none."""
        ...

    @property
    def redelivered(self) -> bool:
        """The server has delivered it before."""
        ...


Row = TypeVar("Row", bound=OrderedDelivery)


class ExpectedRedeliveries:
    """For each key its messages in order, from the first that did not come back; those behind it have their place."""

    def __init__(self, had: Iterable[OrderedDelivery], patience: float) -> None:
        """``had``, in order, was lost; it is waited for ``patience`` seconds from the next channel's beginning on."""
        self._patience = patience
        self._until: float | None = None
        self._loss_epoch = 1
        self._back: set[int] = set()
        self._pending_by_key: dict[str | None, dict[str, int]] = {}
        self._unseen = False
        self._append(had)

    def __bool__(self) -> bool:
        """Something is waited for, or waits."""
        return bool(self._pending_by_key) or self._unseen

    @property
    def unseen(self) -> bool:
        """Whether the server may still have messages that it sent to a lost channel and the channel never showed."""
        return self._unseen

    def expect_unseen(self, *, expected: bool) -> None:
        """Note whether the server may have such messages; begin() forgets it."""
        self._unseen = expected

    def record_loss(self, had: Iterable[OrderedDelivery], patience: float) -> None:
        """The next channel is lost too, with ``had``; or left in good order, and ``patience`` is 0."""
        if patience:
            self._patience, self._until = max(patience, self._patience), None
        self._loss_epoch += 1
        earlier = {
            key: {one: turn or self._loss_epoch for one, turn in line.items()}
            for key, line in self._pending_by_key.items()
        }
        # What was handed out had left its line: it stood before what is there still.
        self._pending_by_key = {}
        self._append(row for row in had if row.id not in earlier.get(row.key, {}))
        for key, line in earlier.items():
            self._pending_by_key[key] = self._pending_by_key.get(key, {}) | line

    def begin(self, now: float) -> None:
        """The next channel is open."""
        self._unseen = False
        self._until = now + self._patience if self._until is None else self._until

    def remaining_seconds(self, now: float) -> float:
        """Seconds that there are still to wait."""
        return math.inf if self._until is None else max(self._until - now, 0.0)

    def record_arrival(self, row: OrderedDelivery) -> None:
        """The server has sent ``row``: to be called once for each, in their order."""
        line = self._pending_by_key.get(row.key, {}) if row.id else {}
        if turn := line.get(row.id):
            self._back.add(turn)
        elif not row.redelivered:
            self._forget(self._back)  # nothing new goes out before all of what came back: others have it
        if row.key in self._pending_by_key and row.id:
            self._pending_by_key[row.key][row.id] = _HERE

    def give_up(self) -> int:
        """Time is over: how many had not come back."""
        return self._forget(range(1, self._loss_epoch + 1))

    def pick(self, rows: deque[Row], room: int) -> list[Row]:
        """Take up to ``room`` out of ``rows``, which have arrived: those that nothing missing stands before."""
        free = self._free(rows)[:room]
        for row in free:
            line = self._pending_by_key.get(row.key, {})
            line.pop(row.id, None)
            if not line:
                self._pending_by_key.pop(row.key, None)
        taken = set(map(id, free))
        left = [row for row in rows if id(row) not in taken]
        rows.clear()
        rows.extend(left)
        return free

    def _append(self, had: Iterable[OrderedDelivery]) -> None:
        for row in had:
            if row.key is not None and row.id:
                self._pending_by_key.setdefault(row.key, {})[row.id] = self._loss_epoch

    def _free(self, rows: Iterable[Row]) -> list[Row]:
        waiting: dict[str | None, dict[str, Row]] = {}
        free: list[Row] = []
        for row in rows:
            if row.id in self._pending_by_key.get(row.key, {}):
                waiting.setdefault(row.key, {}).setdefault(row.id, row)
            else:
                free.append(row)
        for key, here in waiting.items():
            for one, turn in self._pending_by_key[key].items():
                if turn != _HERE or one not in here:
                    break
                free.append(here[one])
        return free

    def _forget(self, turns: Collection[int]) -> int:
        gone = 0
        for key, line in [*self._pending_by_key.items()]:
            kept = {one: turn for one, turn in line.items() if turn not in turns}
            gone += len(line) - len(kept)
            if kept:
                self._pending_by_key[key] = kept
            else:
                del self._pending_by_key[key]
        return gone
