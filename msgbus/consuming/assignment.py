"""Which queues a member consumes: those it wants, those its consumer has, and who takes in what comes of each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.consuming.provisioning import OwnQueues
from msgbus.health import of_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.address import Address
    from msgbus.consuming.retry_intake import Heads
    from msgbus.consuming.worker_pool import Workers
    from msgbus.health import QueueHealth
    from msgbus.subscription import Subscription

__all__ = ["Roster"]

logger = logging.getLogger("msgbus")

LOOK_AGAIN: Final = 10.0
"""Seconds after which a missing queue is looked for again."""
GATHERED: Final = 20
"""A change of subscriptions waits for others for so many times the adapter's ``gather`` at most."""


class Roster:
    """What is wanted changes at any time; what the consumer has, in apply() only."""

    def __init__(self, adapter: Adapter, group: str) -> None:
        self.wanted: dict[Address, Workers] = {}
        self._group = group
        self._gather = adapter.gather
        self._own_queues = OwnQueues(adapter, group)
        self._heads: dict[Workers, dict[Address, Heads]] = {}
        """The retry queues, once they are known to exist."""
        self._applied: dict[Address, Workers] = {}
        self._intakes: dict[Address, Workers | Heads] = {}
        self._leaving: list[Subscription] = []
        self._missing: AbstractSet[Address] = frozenset()
        self._now = asyncio.get_running_loop().time
        self._reopened: set[Address] = set()
        self._changed = False
        self._look_at = 0.0
        self._due = 0.0
        self._latest = 0.0

    # What is wanted.

    def add(self, workers: Workers) -> None:
        """One queue more."""
        self.wanted[workers.subscription.address] = workers
        self.look_again()

    def discard(self, subscription: Subscription) -> None:
        """One queue less; its ``gone()`` is called when nothing of it is in hand."""
        if (workers := self.wanted.pop(subscription.address, None)) is not None:
            workers.stop()
        self._leaving.append(subscription)
        self.look_again()

    def look_again(self) -> None:
        """What is wanted, or which queues there are, has changed; more may follow within moments."""
        now = self._now()
        if not self._latest:
            self._latest = now + GATHERED * self._gather
        self._due = min(now + self._gather, self._latest)
        self._changed = True

    def change(self) -> None:
        """Apply what is wanted and its limits again soon."""
        self._changed = True

    def reopen(self, subscription: Subscription) -> None:
        """Give its queue up and take it again, soon."""
        self._reopened.add(subscription.address)
        self.change()

    # What the consumer has.

    @property
    def due(self) -> bool:
        """It is time for apply()."""
        now = self._now()
        return now >= self._due and (self._changed or now >= self._look_at)

    def patience(self, most: float) -> float:
        """Seconds, up to ``most``, in which apply() will not be due."""
        return min(most, max(self._due - self._now(), 0.0)) if self._changed else most

    async def apply(self, consumer: Consumer) -> None:
        """Subscribe ``consumer`` to what is wanted and exists. Raises what the adapter raises."""
        self._changed = False
        self._look_at = self._now() + LOOK_AGAIN
        wanted = dict(self.wanted)
        self._heads |= await self._own_queues.make([one for one in wanted.values() if one not in self._heads])
        if self._changed and self._now() < self._latest:
            return  # more came meanwhile, and goes with these
        self._latest = 0.0
        reopened, self._reopened = self._reopened, set()
        kept = {
            address: workers
            for address, workers in self._applied.items()
            if wanted.get(address) is workers and address not in reopened
        }
        if any(address in wanted for address in self._applied.keys() - kept.keys()):
            # Cancelled and consumed again, or to be given back: one map could not tell, and the deliveries would stay.
            await consumer.subscribe(self._limits(kept), _newest(kept))
        missing: AbstractSet[Address] = frozenset()
        if wanted or self._applied:
            missing = await consumer.subscribe(self._limits(wanted), _newest(wanted))
        self._applied = {address: workers for address, workers in wanted.items() if address not in missing}
        known, self._heads, self._intakes = self._heads, {}, {}
        for address, workers in self._applied.items():
            self._intakes[address] = workers
            heads = known.get(workers)
            if heads and missing.isdisjoint(heads):  # else somebody deleted one: it is made again at the next look
                self._heads[workers] = heads
                self._intakes |= heads
        self.left()
        self._tell(missing)

    def _limits(self, subscribed: Mapping[Address, Workers]) -> dict[Address, int]:
        limits: dict[Address, int] = {}
        for address, workers in subscribed.items():
            limits[address] = workers.flow.limit
            limits |= {one: heads.flow.limit for one, heads in self._heads.get(workers, {}).items()}
        return limits

    def _tell(self, missing: AbstractSet[Address]) -> None:
        for workers in self._applied.values():
            if workers.subscription.state != "cancelled":
                workers.subscription.assigned()
        for address in missing - self._missing:
            logger.warning(
                "queue %s, group %s: the queue does not exist; waiting for it (create_queue() makes it)",
                address,
                self._group,
            )
        self._missing = missing

    def left(self) -> None:
        """Nothing of the discarded ones is in hand any more."""
        leaving, self._leaving = self._leaving, []
        for subscription in leaving:
            subscription.gone()

    def dropped(self) -> None:
        """The consumer is no more, and has nothing."""
        self._applied = {}
        self._intakes = {}
        for workers in self.wanted.values():
            workers.subscription.pending()

    # What comes.

    def rooms(self) -> dict[Address, int]:
        """Room for the next receive(), where there is any."""
        rooms = {address: intake.asked() for address, intake in self._intakes.items()}
        return {address: room for address, room in rooms.items() if room}

    def intake(self, address: Address) -> Workers | Heads | None:
        """Who takes in what comes of ``address``; nobody where it is not wanted any more."""
        intake = self._intakes.get(address)
        return None if intake is None or intake.cancelled else intake

    def health(self, when: Callable[[float], datetime], trouble: str, *, draining: bool) -> Iterator[QueueHealth]:
        """How each queue is, those too that are drained after their cancel(). No I/O."""
        for workers in self.wanted.values():
            missing = workers.subscription.address in self._missing
            yield of_queue(workers.subscription, when, missing=missing, draining=draining, trouble=trouble)
        for subscription in self._leaving:
            yield of_queue(subscription, when, missing=False, draining=True, trouble="")


def _newest(subscribed: Mapping[Address, Workers]) -> AbstractSet[Address]:
    return {address for address, workers in subscribed.items() if workers.subscription.start == "newest"}
