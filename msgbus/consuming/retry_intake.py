"""Retry intake: holds the deliveries of one retry queue until they are due.

A retry queue has one constant delay, so its messages become due in queue order, and none blocks another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgbus.failure.copies import remaining_delay, retry_copy, time_in_tier
from msgbus.in_flight.deliveries import DeliveryState, InFlight
from msgbus.in_flight.flow_control import FlowController

if TYPE_CHECKING:
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.worker_pool import WorkerPool
    from msgbus.in_flight.deliveries import Session

__all__ = ["RetryIntake"]

MAX_IN_FLIGHT: Final = 200
"""Messages of a retry queue held at a time. The first in are the first due, so more would not be handled sooner."""


class RetryIntake:
    """Holds deliveries of one retry queue until they are due, then passes them to the worker pool.

    A message whose delay is longer than this tier is published to the next tier instead.
    """

    def __init__(self, address: Address, pool: WorkerPool) -> None:
        self.address = address
        self.pool = pool
        self.flow = FlowController(MAX_IN_FLIGHT // 2)
        self._loop = asyncio.get_running_loop()

    @property
    def cancelled(self) -> bool:
        """Whether the subscription was cancelled."""
        return self.pool.cancelled

    def demand(self) -> int:
        """Return the capacity for the next ``receive()``, in deliveries."""
        return self.flow.demand()

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Hold ``delivery`` until its time in this tier is over."""
        held = InFlight(delivery, session, self.pool, self.flow)
        held.state = DeliveryState.WAITING
        session.add(held)
        self.flow.in_flight += 1
        wait = time_in_tier(self.address, delivery.message, self.pool.clock())
        if wait > 0:
            held.timer = self._loop.call_later(wait, self._become_due, held)
        else:
            self._become_due(held)

    def _become_due(self, held: InFlight) -> None:
        held.timer = None
        message = held.delivery.message
        if (left := remaining_delay(message)) > 0:
            # By the headers alone: with a clock that is an hour off, the message would be forwarded for an hour.
            self.pool.outcomes.publish_copy(held, retry_copy(message, left, self.pool.clock()))
        else:
            self.pool.enqueue(held)
