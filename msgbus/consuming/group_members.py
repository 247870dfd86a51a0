"""Group members: the subscriptions of a broker object and, while it is started, one member for each group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgbus.consuming.member import Member
from msgbus.consuming.session_metrics import SessionCounts
from msgbus.errors import ConfigurationError, DuplicateSubscription, Unsupported
from msgbus.health import queue_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.address import Address
    from msgbus.health import QueueHealth
    from msgbus.subscription import Subscription

__all__ = ["GroupMembers"]


class GroupMembers:
    """Registers subscriptions at any time; the members live from ``start()`` to ``stop()``."""

    def __init__(self, adapter: Adapter, random: Random, clock: Callable[[], float]) -> None:
        self._adapter = adapter
        self._random = random
        self._clock = clock
        self._subscriptions: dict[tuple[str, Address], Subscription] = {}
        self._counts: dict[str, SessionCounts] = {}
        self._started = False
        self.by_group: dict[str, Member] = {}

    def add(self, subscription: Subscription) -> None:
        """Register ``subscription``, and consume it if the members are started.

        Raises:
            ConfigurationError: Its ``start`` is none.
            Unsupported: The broker has no such ``start``.
            DuplicateSubscription: The queue is already consumed in this group.
        """
        address, group = subscription.address, subscription.group
        self._check_start(address, subscription.start)
        before = self._subscriptions.get((group, address))
        if before is not None and before.state != "cancelled":
            raise DuplicateSubscription(
                f"queue {address} is already consumed in group {group!r} by this broker object: cancel() that "
                "subscription first, or use another group"
            )
        self._subscriptions[group, address] = subscription
        if self._started:
            self._attach(subscription)

    def counts(self, group: str) -> SessionCounts:
        """Return the counts of the sessions of ``group``. The object is live: it goes on counting."""
        return self._counts.setdefault(group, SessionCounts())

    def start(self) -> None:
        """Start a member for each group of the registered subscriptions. Idempotent."""
        if not self._started:
            self._started = True
            for subscription in self._subscriptions.values():
                if subscription.state != "cancelled":
                    self._attach(subscription)

    async def stop(self, grace: float) -> None:
        """Drain and stop every member, within ``grace`` seconds. Subscriptions stay registered."""
        await asyncio.gather(*(member.stop(grace) for member in self.by_group.values()))
        self._started = False
        self.by_group.clear()

    def end_grace(self) -> None:
        """End the grace of ``stop()`` now: cancel the callbacks that still run."""
        for member in self.by_group.values():
            member.end_grace()

    def recheck_queues(self) -> None:
        """Have the members check soon which of their queues exist."""
        for member in self.by_group.values():
            member.recheck_queues()

    def health(self, when: Callable[[float], datetime]) -> list[QueueHealth]:
        """Return the state of every queue. No I/O."""
        idle = (one for one in self._subscriptions.values() if one.state == "registered")
        found = [queue_health(one, when, refusal=None, draining=False, trouble="") for one in idle]
        return found + [one for member in self.by_group.values() for one in member.health(when)]

    def _check_start(self, address: Address, start: object) -> None:
        if start not in {None, "oldest", "newest"}:
            raise ConfigurationError(f"queue {address}: start must be 'oldest', 'newest' or None, not {start!r}")
        if start is not None and start not in self._adapter.supported_starts:
            raise Unsupported(f"queue {address}: a group cannot begin at the {start} message here; leave start= out")

    def _attach(self, subscription: Subscription) -> None:
        group = subscription.group
        member = self.by_group.get(group)
        if member is None:
            member = Member(self._adapter, group, self._random, self._clock, self.counts(group))
            self.by_group[group] = member
            member.start()
        member.add(subscription)
