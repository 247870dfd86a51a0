"""Acknowledger: acknowledges finished deliveries in batches.

One ``Consumer.acknowledge()`` call is in flight, and the next carries all deliveries that finished meanwhile. So a
single message does not wait for company, and a thousand cost one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from tenacity import retry_if_exception_type

from msgbus.adapter.retrying import Backoff, SeededBackoff, call_repeatedly
from msgbus.errors import BrokerError

if TYPE_CHECKING:
    from random import Random

    from msgbus.adapter import Consumer
    from msgbus.in_flight.deliveries import InFlight

__all__ = ["Acknowledger"]

logger = logging.getLogger("msgbus")

_RETRY_BACKOFF: Final = Backoff(first=0.05, most=2.0)
_BROKER_FAILED: Final = retry_if_exception_type(BrokerError)
_BY_FLOW: Final = attrgetter("flow")


class Acknowledger:
    """Acknowledges finished deliveries through one consumer, as long as their sessions live."""

    def __init__(self, consumer: Consumer, random: Random) -> None:
        self._consumer = consumer
        self._backoff = SeededBackoff(_RETRY_BACKOFF, random)
        self._batch: list[InFlight] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, held: InFlight) -> None:
        """Acknowledge ``held`` with the next batch."""
        self._batch.append(held)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._acknowledge_all(), name="msgbus acknowledging")

    async def flush(self) -> None:
        """Wait until everything added so far is acknowledged, or its session is over."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _acknowledge_all(self) -> None:
        try:
            while self._batch:
                await call_repeatedly(self._acknowledge_batch, wait=self._backoff, retry=_BROKER_FAILED)
        finally:
            self._task = None

    async def _acknowledge_batch(self) -> None:
        batch, self._batch = self._batch, []
        await self._acknowledge(batch)

    async def _acknowledge(self, batch: list[InFlight]) -> None:
        """Acknowledge ``batch``. Raise BrokerError if that failed: then ``batch`` is part of the next one."""
        current = [held.delivery for held in batch if not held.session.over]
        try:
            if current:
                await self._consumer.acknowledge(current)
        except BrokerError as error:
            group = current[0].message.group
            logger.debug("group %s: acknowledging %d messages failed: %s; trying again", group, len(current), error)
            self._batch = batch + self._batch
            raise
        self._release(batch)

    def _release(self, batch: list[InFlight]) -> None:
        room_again = [flow.release(count) for flow, count in Counter(map(_BY_FLOW, batch)).items()]
        if any(room_again):
            self._consumer.wake()
