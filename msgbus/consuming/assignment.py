"""Assignment: which queues a member wants, which of them its consumer has, and which pool gets their deliveries.

Subscriptions change the wanted queues at any time. Only ``apply()`` changes the queues of the consumer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.consuming.provisioning import QueueProvisioner
from msgbus.health import queue_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.address import Address
    from msgbus.consuming.retry_intake import RetryIntake
    from msgbus.consuming.worker_pool import WorkerPool
    from msgbus.health import QueueHealth
    from msgbus.subscription import Subscription

__all__ = ["Assignment"]

logger = logging.getLogger("msgbus")

MISSING_QUEUE_CHECK_SECONDS: Final = 10.0
"""Seconds between two checks whether a missing queue exists now."""
MAX_GATHER_FACTOR: Final = 20
"""How many times the adapter's ``change_delay_seconds`` a change waits for further ones, at most."""


class Assignment:
    """The queues of one member, and the intake of each: a worker pool or a retry intake."""

    def __init__(self, adapter: Adapter, group: str) -> None:
        self.wanted: dict[Address, WorkerPool] = {}
        self._group = group
        self._gather = adapter.change_delay_seconds
        self._provisioner = QueueProvisioner(adapter, group)
        self._retry_intakes: dict[WorkerPool, dict[Address, RetryIntake]] = {}
        """Retry intakes of each pool, once its retry queues exist."""
        self._applied: dict[Address, WorkerPool] = {}
        self._intakes: dict[Address, WorkerPool | RetryIntake] = {}
        self._discarded: list[Subscription] = []
        self._missing: AbstractSet[Address] = frozenset()
        self._now = asyncio.get_running_loop().time
        self._reopened: set[Address] = set()
        self._changed = False
        self._look_at = 0.0
        self._due_at = 0.0
        self._latest = 0.0

    # The wanted queues.

    def add(self, pool: WorkerPool) -> None:
        """Add the queue of ``pool`` to the wanted queues."""
        self.wanted[pool.subscription.address] = pool
        self.recheck_queues()

    def discard(self, subscription: Subscription) -> None:
        """Remove the queue of ``subscription`` from the wanted queues.

        Its ``finish_cancel()`` is called when none of its deliveries is in flight any more.
        """
        if (pool := self.wanted.pop(subscription.address, None)) is not None:
            pool.cancel_probes()
        self._discarded.append(subscription)
        self.recheck_queues()

    def recheck_queues(self) -> None:
        """Request ``apply()`` soon. Further changes within ``change_delay_seconds`` are applied together."""
        now = self._now()
        if not self._latest:
            self._latest = now + MAX_GATHER_FACTOR * self._gather
        self._due_at = min(now + self._gather, self._latest)
        self._changed = True

    def request_apply(self) -> None:
        """Request ``apply()`` at the next opportunity, since the wanted queues or their limits have changed."""
        self._changed = True

    def reopen(self, subscription: Subscription) -> None:
        """Release the queue of ``subscription`` and consume it again, at the next opportunity."""
        self._reopened.add(subscription.address)
        self.request_apply()

    # The queues of the consumer.

    @property
    def is_due(self) -> bool:
        """Whether ``apply()`` is due."""
        now = self._now()
        return now >= self._due_at and (self._changed or now >= self._look_at)

    def seconds_until_due(self, most: float) -> float:
        """Return the seconds until ``apply()`` may be due, at most ``most``."""
        return min(most, max(self._due_at - self._now(), 0.0)) if self._changed else most

    async def apply(self, consumer: Consumer) -> None:
        """Subscribe ``consumer`` to the wanted queues that exist. Raise what the adapter raises."""
        self._changed = False
        self._look_at = self._now() + MISSING_QUEUE_CHECK_SECONDS
        wanted = dict(self.wanted)
        self._retry_intakes |= await self._provisioner.provision(
            [one for one in wanted.values() if one not in self._retry_intakes]
        )
        if self._changed and self._now() < self._latest:
            return  # there are further changes by now, which are applied together with these
        self._latest = 0.0
        reopened, self._reopened = self._reopened, set()
        kept = {
            address: pool
            for address, pool in self._applied.items()
            if wanted.get(address) is pool and address not in reopened
        }
        if any(address in wanted for address in self._applied.keys() - kept.keys()):
            # A queue was cancelled and consumed again, or is to be reopened. One subscribe() would not see a difference
            # and would keep its deliveries.
            await consumer.subscribe(self._limits(kept), _newest(kept))
        missing: AbstractSet[Address] = frozenset()
        if wanted or self._applied:
            missing = await consumer.subscribe(self._limits(wanted), _newest(wanted))
        self._applied = {address: pool for address, pool in wanted.items() if address not in missing}
        known, self._retry_intakes, self._intakes = self._retry_intakes, {}, {}
        for address, pool in self._applied.items():
            self._intakes[address] = pool
            intakes = known.get(pool)
            if intakes and missing.isdisjoint(intakes):  # else one was deleted: the next check makes it again
                self._retry_intakes[pool] = intakes
                self._intakes |= intakes
        self.finish_discarded()
        self._tell(missing)

    def _limits(self, subscribed: Mapping[Address, WorkerPool]) -> dict[Address, int]:
        limits: dict[Address, int] = {}
        for address, pool in subscribed.items():
            limits[address] = pool.flow.limit
            limits |= {one: intake.flow.limit for one, intake in self._retry_intakes.get(pool, {}).items()}
        return limits

    def _tell(self, missing: AbstractSet[Address]) -> None:
        for pool in self._applied.values():
            if pool.subscription.state != "cancelled":
                pool.subscription.mark_active()
        for address in missing - self._missing:
            logger.warning(
                "queue %s, group %s: the queue does not exist; waiting for it (create_queue() makes it)",
                address,
                self._group,
            )
        self._missing = missing

    def finish_discarded(self) -> None:
        """Complete ``cancel()`` of discarded subscriptions: none of their deliveries is in flight."""
        leaving, self._discarded = self._discarded, []
        for subscription in leaving:
            subscription.finish_cancel()

    def consumer_lost(self) -> None:
        """Forget the queues of the consumer, which is closed."""
        self._applied = {}
        self._intakes = {}
        for pool in self.wanted.values():
            pool.subscription.mark_waiting()

    # Deliveries.

    def demand(self) -> dict[Address, int]:
        """Return the capacity for the next ``receive()``, in deliveries, of each queue that has any."""
        rooms = {address: intake.demand() for address, intake in self._intakes.items()}
        return {address: room for address, room in rooms.items() if room}

    def intake(self, address: Address) -> WorkerPool | RetryIntake | None:
        """Return the intake for deliveries of ``address``; None if the queue is not wanted any more."""
        intake = self._intakes.get(address)
        return None if intake is None or intake.cancelled else intake

    def health(self, when: Callable[[float], datetime], trouble: str, *, draining: bool) -> Iterator[QueueHealth]:
        """Yield the state of each queue, those included that are drained after ``cancel()``. No I/O."""
        for pool in self.wanted.values():
            missing = pool.subscription.address in self._missing
            yield queue_health(pool.subscription, when, missing=missing, draining=draining, trouble=trouble)
        for subscription in self._discarded:
            yield queue_health(subscription, when, missing=False, draining=True, trouble="")


def _newest(subscribed: Mapping[Address, WorkerPool]) -> AbstractSet[Address]:
    return {address for address, pool in subscribed.items() if pool.subscription.start == "newest"}
