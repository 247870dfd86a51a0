"""Order per key after a lost channel: newer messages of a key wait until its lost deliveries have come back.

A server that was killed, or has not noticed that a connection is lost, may serve the next channel before it takes back
the deliveries of the last one. It takes back all of a channel at once, and redelivers them before anything else.

Messages that the server had sent and the lost channel never showed have no name here. For those, the session waits
before it consumes (see `channel_session`). Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection, Iterable

__all__ = ["DETECTED_LOSS_WAIT_SECONDS", "UNDETECTED_LOSS_WAIT_SECONDS", "ExpectedRedeliveries", "OrderedDelivery"]

DETECTED_LOSS_WAIT_SECONDS: Final = 5.0
"""Seconds to wait for redeliveries after the server ended the connection: it knows of it and is busy."""
UNDETECTED_LOSS_WAIT_SECONDS: Final = 35.0
"""Seconds to wait if the server may not have noticed the loss: its heartbeat tells it within 30."""
_HERE: Final = 0
"""In place of a loss epoch: the message has come back and waits for earlier ones of its key."""


class OrderedDelivery(Protocol):
    """What a delivery must tell for its order."""

    @property
    def key(self) -> str | None:
        """Its ordering key."""
        ...

    @property
    def id(self) -> str:
        """The message id, equal at every delivery; empty if the publisher gave none."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether the server has delivered it before."""
        ...


Row = TypeVar("Row", bound=OrderedDelivery)


class ExpectedRedeliveries:
    """For each key, the messages that have to be handed out in order, from the first one that has not come back.

    Each carries the *loss epoch* in which it was lost: the server takes back all of one lost channel together.
    """

    def __init__(self, had: Iterable[OrderedDelivery], patience: float) -> None:
        """Expect ``had``, lost deliveries in order, for ``patience`` seconds from the next begin() on."""
        self._wait_seconds = patience
        self._until: float | None = None
        self._loss_epoch = 1
        self._back: set[int] = set()
        self._pending_by_key: dict[str | None, dict[str, int]] = {}
        self._unseen = False
        self._append(had)

    def __bool__(self) -> bool:
        """Tell whether a redelivery is expected, or a message waits for one."""
        return bool(self._pending_by_key) or self._unseen

    @property
    def unseen(self) -> bool:
        """Whether the server may still have messages that it sent to a lost channel and the channel never showed."""
        return self._unseen

    def expect_unseen(self, *, expected: bool) -> None:
        """Note whether the server may have such messages; begin() forgets it."""
        self._unseen = expected

    def record_loss(self, had: Iterable[OrderedDelivery], patience: float) -> None:
        """Add ``had``, the deliveries of the next channel, which has ended too; ``patience`` is 0 if in good order."""
        if patience:
            self._wait_seconds, self._until = max(patience, self._wait_seconds), None
        self._loss_epoch += 1
        earlier = {
            key: {one: epoch or self._loss_epoch for one, epoch in line.items()}
            for key, line in self._pending_by_key.items()
        }
        # Deliveries that were handed out had been removed from their line. They go before those still in it.
        self._pending_by_key = {}
        self._append(row for row in had if row.id not in earlier.get(row.key, {}))
        for key, line in earlier.items():
            self._pending_by_key[key] = self._pending_by_key.get(key, {}) | line

    def begin(self, now: float) -> None:
        """Start the time limit: the next channel is open."""
        self._unseen = False
        self._until = now + self._wait_seconds if self._until is None else self._until

    def remaining_seconds(self, now: float) -> float:
        """Return the seconds left to wait; infinity before begin()."""
        return math.inf if self._until is None else max(self._until - now, 0.0)

    def record_arrival(self, row: OrderedDelivery) -> None:
        """Note an arrival. The caller calls it once for each ``row``, in their order."""
        line = self._pending_by_key.get(row.key, {}) if row.id else {}
        if epoch := line.get(row.id):
            self._back.add(epoch)
        elif not row.redelivered:
            self._forget(
                self._back
            )  # the server sends new messages after all redeliveries: other members have the rest
        if row.key in self._pending_by_key and row.id:
            self._pending_by_key[row.key][row.id] = _HERE

    def give_up(self) -> int:
        """Expect nothing any more; return how many messages had not come back."""
        return self._forget(range(1, self._loss_epoch + 1))

    def pick(self, rows: deque[Row], room: int) -> list[Row]:
        """Remove and return up to ``room`` of ``rows`` that no expected redelivery has to precede.

        ``rows`` are the messages that have arrived, in order.
        """
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
            for one, epoch in self._pending_by_key[key].items():
                if epoch != _HERE or one not in here:
                    break
                free.append(here[one])
        return free

    def _forget(self, epochs: Collection[int]) -> int:
        gone = 0
        for key, line in [*self._pending_by_key.items()]:
            kept = {one: epoch for one, epoch in line.items() if epoch not in epochs}
            gone += len(line) - len(kept)
            if kept:
                self._pending_by_key[key] = kept
            else:
                del self._pending_by_key[key]
        return gone
