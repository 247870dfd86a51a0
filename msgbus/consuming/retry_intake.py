"""The heads of a retry queue: each is held until it is due, then the callback's lanes get it, none behind another."""

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
"""Messages of a retry queue held at once. The first in are the first due, so more would not be sooner."""


class RetryIntake:
    """One step of a group's ladder."""

    def __init__(self, address: Address, workers: WorkerPool) -> None:
        self.address = address
        self.workers = workers
        self.flow = FlowController(MAX_IN_FLIGHT // 2)
        self._loop = asyncio.get_running_loop()

    @property
    def cancelled(self) -> bool:
        """Its subscription was cancelled."""
        return self.workers.cancelled

    def demand(self) -> int:
        """Room for the next receive()."""
        return self.flow.demand()

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Hold ``delivery`` until its time here is over."""
        held = InFlight(delivery, session, self.workers, self.flow)
        held.state = DeliveryState.WAITING
        session.add(held)
        self.flow.in_flight += 1
        wait = time_in_tier(self.address, delivery.message, self.workers.clock())
        if wait > 0:
            held.timer = self._loop.call_later(wait, self._become_due, held)
        else:
            self._become_due(held)

    def _become_due(self, held: InFlight) -> None:
        held.timer = None
        message = held.delivery.message
        if (left := remaining_delay(message)) > 0:
            # By the headers alone: a clock that is an hour off would send it round for an hour.
            self.workers.forward(held, retry_copy(message, left, self.workers.clock()))
        else:
            self.workers.enqueue(held)
