"""Publish first: copies of what failed go to the retry queue or the dead-letter queue, until they are there.

One pump for each destination, so that one which cannot be written holds up nobody else. What waits for it is not
acknowledged, and keeps its lane; a drain gives it up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgbus.in_flight.deliveries import Stage
from msgbus.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError
    from msgbus.in_flight.deliveries import Held

__all__ = ["Forwarding"]

logger = logging.getLogger("msgbus")

TRY: Final = 30.0
"""Seconds of one try: a dead Kafka node stops every partition for 8 to 13 s."""
BATCH: Final = 500
_AGAIN: Final = Backoff(first=0.1, most=5.0)


class Copy(NamedTuple):
    """What is to be published before ``held`` is acknowledged."""

    held: Held
    outgoing: Outgoing


class Forwarding:
    """All destinations of one member."""

    def __init__(self, adapter: Adapter, done: Callable[[Held], None], random: Random) -> None:
        """``done`` gets each held delivery whose copy is confirmed while it still counts."""
        self._adapter = adapter
        self._done = done
        self._random = random
        self._pumps: dict[Address, Pump] = {}
        self.stuck: Final[set[Address]] = set()
        """Destinations that cannot be written, while something waits for them."""

    def send(self, held: Held, outgoing: Outgoing) -> None:
        """Publish ``outgoing``, then call ``done(held)``."""
        pump = self._pumps.get(outgoing.address)
        if pump is None:
            pump = Pump(self._adapter, outgoing.address, self._done, self._random, self.stuck)
            self._pumps[outgoing.address] = pump
        pump.send(Copy(held, outgoing))

    async def close(self) -> None:
        """Stop; what is not published was given up already."""
        for pump in self._pumps.values():
            await pump.close()


class Pump:
    """One destination: one publish in flight, and the next carries all that came meanwhile."""

    def __init__(
        self,
        adapter: Adapter,
        address: Address,
        done: Callable[[Held], None],
        random: Random,
        stuck: set[Address],
    ) -> None:
        self._adapter = adapter
        self._address = address
        self._done = done
        self._random = random
        self._stuck = stuck
        self._copies: deque[Copy] = deque()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def send(self, copy: Copy) -> None:
        """See Forwarding."""
        held = copy.held
        if self._failures and held.session.draining:
            held.workers.give_up(held)
            return
        held.stage = Stage.STUCK if self._failures else Stage.SETTLING
        self._copies.append(copy)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"msgbus to {self._address}")

    async def close(self) -> None:
        """See Forwarding."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while batch := self._batch():
                if self._take_stock(batch, await self._publish(batch)):
                    self._recovered()
                else:
                    await asyncio.sleep(_AGAIN.wait(self._failures, self._random.random()))
        finally:
            self._task = None
            self._stuck.discard(self._address)

    def _batch(self) -> list[Copy]:
        batch: list[Copy] = []
        while self._copies and len(batch) < BATCH:
            copy = self._copies.popleft()
            if copy.held.current:
                copy.held.stage = Stage.SETTLING
                batch.append(copy)
        return batch

    async def _publish(self, batch: Sequence[Copy]) -> Sequence[BrokerError | Exception | None]:
        try:
            return await self._adapter.publish([copy.outgoing for copy in batch], TRY)
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must not end the pump
            return [error] * len(batch)

    def _take_stock(self, batch: Sequence[Copy], verdicts: Sequence[BrokerError | Exception | None]) -> bool:
        """True if all have arrived."""
        again: list[Copy] = []
        for copy, verdict in zip(batch, verdicts, strict=True):
            if not copy.held.current:
                continue
            if verdict is None:
                self._done(copy.held)
            elif copy.held.session.draining:
                copy.held.workers.give_up(copy.held)
            else:
                copy.held.stage = Stage.STUCK
                again.append(copy)
        errors = [verdict for verdict in verdicts if verdict is not None]
        if errors:
            self._failed(batch[0], errors[0])
        self._copies.extendleft(reversed(again))
        return not errors

    def _failed(self, copy: Copy, error: Exception) -> None:
        self._failures += 1
        self._stuck.add(self._address)
        if self._failures == 1:
            copy.held.workers.subscription.counts.outages += 1
            logger.error(
                "queue %s cannot be written: what failed stays unacknowledged and its keys wait until it can: %s",
                self._address,
                error,
            )

    def _recovered(self) -> None:
        if self._failures:
            logger.info("queue %s can be written again", self._address)
        self._failures = 0
        self._stuck.discard(self._address)
