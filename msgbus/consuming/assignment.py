"""Assignment: which queues a member wants, which of them its consumer has, and which pool gets their deliveries.

Subscriptions change the wanted queues at any time. Only ``apply()`` adds to the queues of the consumer. A queue that
the server refuses is left out and tried again with backoff; the other queues go on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.consuming.provisioning import QueueProvisioner
from msgbus.consuming.refused_queues import RefusedQueues
from msgbus.errors import BrokerError, BrokerUnavailable, QueueNotFound
from msgbus.health import queue_health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from random import Random

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.address import Address
    from msgbus.consuming.retry_intake import RetryIntake
    from msgbus.consuming.worker_pool import WorkerPool
    from msgbus.health import QueueHealth
    from msgbus.subscription import Subscription

__all__ = ["Assignment"]

logger = logging.getLogger("msgbus")

CHECK_SECONDS: Final = 10.0
"""Seconds between two checks whether the consumed queues are still as they were."""
MAX_GATHER_FACTOR: Final = 20
"""How many times the adapter's ``change_delay_seconds`` a change waits for further ones, at most."""


class Assignment:
    """The queues of one member, and the intake of each: a worker pool or a retry intake."""

    def __init__(self, adapter: Adapter, group: str, random: Random) -> None:
        self.wanted: dict[Address, WorkerPool] = {}
        self._group = group
        self._gather = adapter.change_delay_seconds
        self._provisioner = QueueProvisioner(adapter, group)
        self._retry_intakes: dict[WorkerPool, dict[Address, RetryIntake]] = {}
        """Retry intakes of each pool, once its retry queues exist."""
        self._incomplete: set[WorkerPool] = set()
        """Pools one of whose retry queues was deleted meanwhile."""
        self._refused = RefusedQueues(random)
        self._left_out: set[Address] = set()
        """Queues that the consumer has left out since the last ``subscribe()`` began."""
        self._applied: dict[Address, WorkerPool] = {}
        """The pools whose queues the consumer has, by queue."""
        self._intakes: dict[Address, WorkerPool | RetryIntake] = {}
        self._discarded: list[Subscription] = []
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
        self._refused.retry_all(now)
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
        return now >= self._due_at and (self._changed or now >= min(self._look_at, self._refused.next_try()))

    def seconds_until_due(self, most: float) -> float:
        """Return the seconds until ``apply()`` may be due, at most ``most``."""
        return min(most, max(self._due_at - self._now(), 0.0)) if self._changed else most

    async def apply(self, consumer: Consumer) -> None:
        """Subscribe ``consumer`` to the wanted queues, without the refused ones. Raise what the adapter raises."""
        self._changed = False
        now = self._now()
        self._look_at = now + CHECK_SECONDS
        wanted = dict(self.wanted)
        await self._provision([pool for pool in wanted.values() if not self._refused.resting(_address(pool), now)])
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
        limits = self._limits(wanted)
        refused: Mapping[Address, BrokerError] = {}
        self._left_out.clear()
        if limits or self._applied or self._intakes:
            refused = await consumer.subscribe(limits, _newest(wanted))
        self._refused.keep([*wanted, *(one for tiers in self._retry_intakes.values() for one in tiers)])
        self._take(wanted, limits, refused)
        self.finish_discarded()

    async def _provision(self, pools: Sequence[WorkerPool]) -> None:
        fresh = [pool for pool in pools if pool not in self._retry_intakes or pool in self._incomplete]
        for pool, outcome in (await self._provisioner.provision(fresh)).items():
            self._incomplete.discard(pool)
            if isinstance(outcome, BrokerError):
                self._refuse(_address(pool), outcome)
            else:
                self._retry_intakes.setdefault(pool, outcome)

    def _limits(self, subscribed: Mapping[Address, WorkerPool]) -> dict[Address, int]:
        """Return the limit of each queue that is to be consumed, retry queues included."""
        now = self._now()
        limits: dict[Address, int] = {}
        for address, pool in subscribed.items():
            if pool not in self._retry_intakes:
                continue
            limits[address] = pool.flow.limit
            limits |= {one: intake.flow.limit for one, intake in self._retry_intakes[pool].items()}
        return {address: limit for address, limit in limits.items() if not self._refused.resting(address, now)}

    def _take(
        self,
        wanted: Mapping[Address, WorkerPool],
        limits: Mapping[Address, int],
        refused: Mapping[Address, BrokerError],
    ) -> None:
        """Note what the consumer has now, and what the server refuses."""
        for address in (one for one in limits if one not in self._left_out):
            if (error := refused.get(address)) is not None:
                self._refuse(address, error)
            elif (before := self._refused.accept(address, self._now())) is not None:
                logger.info("queue %s, group %s: consumed again; it was refused: %s", address, self._group, before)
        consumed = limits.keys() - refused.keys() - self._left_out
        self._applied = {address: pool for address, pool in wanted.items() if address in consumed}
        self._intakes = dict(self._applied)
        known, self._retry_intakes = self._retry_intakes, {}
        for pool in wanted.values():
            if (intakes := known.get(pool)) is None:
                continue
            self._retry_intakes[pool] = intakes
            self._intakes |= {one: intake for one, intake in intakes.items() if one in consumed}
            if any(isinstance(refused.get(one), QueueNotFound) for one in intakes):
                self._incomplete.add(pool)
        self._incomplete &= self._retry_intakes.keys()
        for pool in self._applied.values():
            if pool.subscription.state != "cancelled":
                pool.subscription.mark_active()

    # What the server refuses.

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        """Handle :meth:`SessionListener.queue_refused`: the consumer has left ``address`` out."""
        self._left_out.add(address)
        self._applied.pop(address, None)
        self._intakes.pop(address, None)
        self._refuse(address, error)

    def _refuse(self, address: Address, error: BrokerError) -> None:
        if self._refused.refuse(address, error, self._now()):
            if isinstance(error, QueueNotFound):
                logger.warning(
                    "queue %s, group %s: the queue does not exist; waiting for it (create_queue() makes it)",
                    address,
                    self._group,
                )
            else:
                logger.warning(
                    "queue %s, group %s: cannot be consumed: %s; trying again, and the other queues go on",
                    address,
                    self._group,
                    error,
                )
        if (pool := self.wanted.get(address)) is not None:
            pool.subscription.mark_waiting()
            if not isinstance(error, QueueNotFound | BrokerUnavailable):
                pool.subscription.fail(error)

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

    def health(
        self, when: Callable[[float], datetime], problem: Callable[[Address], str], *, draining: bool
    ) -> Iterator[QueueHealth]:
        """Yield the state of each queue, those included that are drained after ``cancel()``. No I/O.

        Args:
            when: Converts the event loop's time into a date.
            problem: Returns what keeps the consumer from receiving messages of a queue, in words.
            draining: Whether the member is drained.
        """
        for pool in self.wanted.values():
            address = _address(pool)
            trouble = problem(address) or self._retry_trouble(pool, problem)
            yield queue_health(
                pool.subscription, when, refusal=self._refused.error(address), draining=draining, trouble=trouble
            )
        for subscription in self._discarded:
            yield queue_health(subscription, when, refusal=None, draining=True, trouble="")

    def _retry_trouble(self, pool: WorkerPool, problem: Callable[[Address], str]) -> str:
        """Return what keeps a retry queue of ``pool`` from being consumed; empty if nothing does."""
        for address in self._retry_intakes.get(pool, ()):
            if reason := self._refused.error(address) or problem(address):
                return f"retry queue {address}: {reason}"
        return ""


def _address(pool: WorkerPool) -> Address:
    return pool.subscription.address


def _newest(subscribed: Mapping[Address, WorkerPool]) -> AbstractSet[Address]:
    return {address for address, pool in subscribed.items() if pool.subscription.start == "newest"}
