"""Outcomes of deliveries, carried out: publish the copy first, acknowledge the delivery last.

The worker pools of a member decide how a delivery ends; its outcome sink does it. Every way reads in this file::

    callback returned ────────────────────────────────────────────────────▶ finish() ─▶ Acknowledger
    callback failed ─▶ carry_out(): retry copy or dead letter ─┐               ▲
    not due yet, parked, next tier ────────────────────────────┴▶ publish_copy() ─▶ Forwarder
                                                                               │ confirmed
                                                     copy_confirmed() ◀────────┘

A delivery whose copy is not confirmed is never acknowledged: its next session gets it again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgbus.consuming.acknowledger import Acknowledger
from msgbus.failure.copies import dead_letter_copy, failure_headers, retry_copy
from msgbus.failure.forwarder import Forwarder
from msgbus.in_flight.deliveries import DONE
from msgbus.retry import RetryLater

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from random import Random

    from msgbus.adapter import Adapter, Consumer
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.failure.copies import Failure
    from msgbus.in_flight.deliveries import InFlight
    from msgbus.message import Message
    from msgbus.retry import GiveUp

__all__ = ["OutcomeSink"]

logger = logging.getLogger("msgbus")

FLUSH_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that the last acknowledgements of a drain may take."""


class OutcomeSink:
    """Ends the deliveries of one member: publishes their copies, then acknowledges them."""

    def __init__(self, adapter: Adapter, group: str, random: Random) -> None:
        self._group = group
        self._random = random
        self._forwarder = Forwarder(adapter, self.copy_confirmed, random)
        self._acknowledger: Acknowledger | None = None
        self.stalled: Final[AbstractSet[Address]] = self._forwarder.stalled
        """Retry and dead-letter queues that cannot be written at the moment."""

    def use_consumer(self, consumer: Consumer) -> None:
        """Acknowledge through ``consumer``, the member's newest, from now on."""
        self._acknowledger = Acknowledger(consumer, self._random)

    # Failed or not due: a copy is published, then the delivery is acknowledged.

    def carry_out(self, held: InFlight, message: Message, failure: Failure, outcome: RetryLater | GiveUp) -> None:
        """Send ``message``, as it failed, to a retry queue or to the dead-letter queue."""
        subscription = held.runner.subscription
        if isinstance(outcome, RetryLater):
            subscription.counts.retried += 1
            copy = retry_copy(message, outcome.after, failure.at, failure_headers(message, failure))
        else:
            subscription.counts.dead_lettered += 1
            letter_id = self._random.randbytes(16).hex()
            trace = subscription.policy.traceback
            copy = dead_letter_copy(message, failure, outcome.reason, letter_id, with_traceback=trace)
        self.publish_copy(held, copy)

    def publish_copy(self, held: InFlight, copy: Outgoing) -> None:
        """Publish ``copy``, then acknowledge ``held``. The cut of a drain moves up as for a callback."""
        held.session.mark_started(held)
        self._forwarder.send(held, copy)

    def copy_confirmed(self, held: InFlight) -> None:
        """Finish ``held``, whose copy the broker has confirmed, and free its ordering key."""
        self.finish(held)
        held.runner.release_key(held)

    # Done: the delivery is acknowledged.

    def finish(self, held: InFlight) -> None:
        """Acknowledge ``held`` and take it out of its session."""
        held.state = DONE
        self.acknowledge(held)
        held.session.remove(held)

    def acknowledge(self, held: InFlight) -> None:
        """Have ``held`` acknowledged with the next batch."""
        if self._acknowledger is not None:
            self._acknowledger.add(held)

    # A drain, and the end.

    async def flush(self) -> None:
        """Wait until everything finished so far is acknowledged, for at most ``FLUSH_TIMEOUT_SECONDS``."""
        if self._acknowledger is None:
            return
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS):
                await self._acknowledger.flush()
        except TimeoutError:
            logger.warning(
                "group %s: the last acknowledgements were not confirmed within %g s; "
                "their messages may be delivered again",
                self._group,
                FLUSH_TIMEOUT_SECONDS,
            )

    async def close(self) -> None:
        """Stop publishing copies; deliveries whose copies are not published were given up already."""
        await self._forwarder.close()
