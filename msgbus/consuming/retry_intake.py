"""The heads of a retry queue: each is held until it is due, then the callback's lanes get it, none behind another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgbus.failure.copies import hold, parked, rest
from msgbus.in_flight.deliveries import Held, Stage
from msgbus.in_flight.flow_control import Flow

if TYPE_CHECKING:
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.worker_pool import Workers
    from msgbus.in_flight.deliveries import Session

__all__ = ["Heads"]

HELD: Final = 200
"""Messages of a retry queue held at once. The first in are the first due, so more would not be sooner."""


class Heads:
    """One step of a group's ladder."""

    def __init__(self, address: Address, workers: Workers) -> None:
        self.address = address
        self.workers = workers
        self.flow = Flow(HELD // 2)
        self._loop = asyncio.get_running_loop()

    @property
    def cancelled(self) -> bool:
        """Its subscription was cancelled."""
        return self.workers.cancelled

    def asked(self) -> int:
        """Room for the next receive()."""
        return self.flow.asked()

    def accept(self, delivery: Delivery, session: Session) -> None:
        """Hold ``delivery`` until its time here is over."""
        held = Held(delivery, session, self.workers, self.flow)
        held.stage = Stage.WAITING
        session.hold(held)
        self.flow.held += 1
        wait = hold(self.address, delivery.message, self.workers.clock())
        if wait > 0:
            held.timer = self._loop.call_later(wait, self._over, held)
        else:
            self._over(held)

    def _over(self, held: Held) -> None:
        held.timer = None
        message = held.delivery.message
        if (left := rest(message)) > 0:
            # By the headers alone: a clock that is an hour off would send it round for an hour.
            self.workers.forward(held, parked(message, left, self.workers.clock()))
        else:
            self.workers.enqueue(held)
