"""Forwarder: publishes copies to retry queues and dead-letter queues, and repeats until the broker confirms them.

Each destination has a queue and a task of its own, so a destination that cannot be written delays no other. A delivery
whose copy waits stays unacknowledged and occupies its ordering key; a drain gives it up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.adapter.timeouts import cancel_and_wait
from msgbus.backoff import Backoff
from msgbus.in_flight.deliveries import DeliveryState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError
    from msgbus.in_flight.deliveries import InFlight

__all__ = ["Forwarder"]

logger = logging.getLogger("msgbus")

PUBLISH_TIMEOUT_SECONDS: Final = 30.0
"""Seconds that one publish may take: a dead Kafka node stops every partition for 8 to 13 s."""
MAX_BATCH_MESSAGES: Final = 500
"""Copies in one publish."""
_RETRY_BACKOFF: Final = Backoff(first=0.1, most=5.0)


class PendingCopy(NamedTuple):
    """A copy to publish before ``held`` is acknowledged."""

    held: InFlight
    outgoing: Outgoing


class Forwarder:
    """Publishes the copies of one member, one :class:`DestinationQueue` for each address."""

    def __init__(self, adapter: Adapter, confirmed: Callable[[InFlight], None], random: Random) -> None:
        """Create a forwarder that calls ``confirmed`` with each delivery whose copy is confirmed and still counts."""
        self._adapter = adapter
        self._confirmed = confirmed
        self._random = random
        self._queues: dict[Address, DestinationQueue] = {}
        self.stalled: Final[set[Address]] = set()
        """Destinations that cannot be written, while copies wait for them."""

    def send(self, held: InFlight, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then call ``confirmed(held)``."""
        queue = self._queues.get(outgoing.address)
        if queue is None:
            queue = DestinationQueue(self._adapter, outgoing.address, self._confirmed, self._random, self.stalled)
            self._queues[outgoing.address] = queue
        queue.send(PendingCopy(held, outgoing))

    async def close(self) -> None:
        """Stop publishing. Deliveries whose copies are not published were given up already."""
        for queue in self._queues.values():
            await queue.close()


class DestinationQueue:
    """Copies for one address: one publish is in flight, and the next sends all copies that were added meanwhile."""

    def __init__(
        self,
        adapter: Adapter,
        address: Address,
        confirmed: Callable[[InFlight], None],
        random: Random,
        stalled: set[Address],
    ) -> None:
        self._adapter = adapter
        self._address = address
        self._confirmed = confirmed
        self._random = random
        self._stalled = stalled
        self._copies: deque[PendingCopy] = deque()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def send(self, copy: PendingCopy) -> None:
        """Publish ``copy`` behind those that wait already."""
        held = copy.held
        if self._failures and held.session.draining:
            held.runner.give_up(held)
            return
        held.state = DeliveryState.STALLED if self._failures else DeliveryState.FORWARDING
        self._copies.append(copy)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"msgbus to {self._address}")

    async def close(self) -> None:
        """Stop the publishing task."""
        await cancel_and_wait(self._task, timeout=None)

    async def _run(self) -> None:
        try:
            while batch := self._batch():
                if self._handle_results(batch, await self._publish(batch)):
                    self._recovered()
                else:
                    await asyncio.sleep(_RETRY_BACKOFF.wait(self._failures, self._random.random()))
        finally:
            self._task = None
            self._stalled.discard(self._address)

    def _batch(self) -> list[PendingCopy]:
        batch: list[PendingCopy] = []
        while self._copies and len(batch) < MAX_BATCH_MESSAGES:
            copy = self._copies.popleft()
            if copy.held.is_current:
                copy.held.state = DeliveryState.FORWARDING
                batch.append(copy)
        return batch

    async def _publish(self, batch: Sequence[PendingCopy]) -> Sequence[BrokerError | Exception | None]:
        try:
            return await self._adapter.publish([copy.outgoing for copy in batch], PUBLISH_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001 - a bug of an adapter must not end this task
            return [error] * len(batch)

    def _handle_results(self, batch: Sequence[PendingCopy], results: Sequence[BrokerError | Exception | None]) -> bool:
        """Complete the confirmed copies of ``batch`` and queue the others again. Return True if all are confirmed."""
        again: list[PendingCopy] = []
        for copy, result in zip(batch, results, strict=True):
            if not copy.held.is_current:
                continue
            if result is None:
                self._confirmed(copy.held)
            elif copy.held.session.draining:
                copy.held.runner.give_up(copy.held)
            else:
                copy.held.state = DeliveryState.STALLED
                again.append(copy)
        errors = [result for result in results if result is not None]
        if errors:
            self._failed(batch[0], errors[0])
        self._copies.extendleft(reversed(again))
        return not errors

    def _failed(self, copy: PendingCopy, error: Exception) -> None:
        self._failures += 1
        self._stalled.add(self._address)
        if self._failures == 1:
            copy.held.runner.subscription.counts.outages += 1
            logger.error(
                "queue %s cannot be written: %s; until it can, failed messages stay unacknowledged and their keys wait",
                self._address,
                error,
            )

    def _recovered(self) -> None:
        if self._failures:
            logger.info("queue %s can be written again", self._address)
        self._failures = 0
        self._stalled.discard(self._address)
