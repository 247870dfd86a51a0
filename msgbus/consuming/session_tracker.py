"""Session tracker: the sessions of a member, and their drains.

It is the :class:`SessionListener` of the member's consumer. Adapters may call it from any of their tasks: a drain does
not need the member's loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.in_flight.deliveries import DeliveryState, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from msgbus.adapter import Consumer
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.outcome_sink import OutcomeSink
    from msgbus.consuming.session_metrics import SessionMetrics
    from msgbus.errors import BrokerError

__all__ = ["SessionTracker"]

logger = logging.getLogger("msgbus")


class SessionTracker:
    """Tracks the sessions of one member: begun, drained, or lost."""

    def __init__(
        self,
        group: str,
        metrics: SessionMetrics,
        outcomes: OutcomeSink,
        on_refused: Callable[[Address, BrokerError], None],
    ) -> None:
        """``on_refused`` is called for a queue that the server refuses while it is consumed."""
        self._group = group
        self._on_refused = on_refused
        self._metrics = metrics
        self._outcomes = outcomes
        self._sessions: dict[Hashable, Session] = {}

    def find(self, session: Hashable) -> Session | None:
        """Return the session, or None if its deliveries must not be taken: it drains, is over, or is unknown."""
        found = self._sessions.get(session)
        return None if found is None or found.draining else found

    def begun(self, session: Hashable) -> None:
        """Implement :meth:`SessionListener.begun`."""
        self._sessions[session] = Session(session)
        self._metrics.record_begun()

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """Implement :meth:`SessionListener.ending` by a cut drain (see :mod:`msgbus.in_flight.deliveries`)."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        for session in mine:
            self._begin_drain(session)
        in_flight, abandoned = sum(len(session.in_flight) for session in mine), 0
        try:
            async with asyncio.timeout(budget):
                for session in mine:
                    await session.wait_until_empty()
        except TimeoutError:
            abandoned = sum(len(session.in_flight) for session in mine)
            for session in mine:
                self._abandon(session)
        await self._outcomes.flush()
        if ended := self._forget(mine):
            self._metrics.record_revoked(ended, in_flight - abandoned, abandoned)

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """Implement :meth:`SessionListener.lost`: fence the in-flight deliveries."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        if ended := self._forget(mine):
            self._metrics.record_lost(ended, sum(len(session.in_flight) for session in mine))
        for session in mine:
            for held in list(session.in_flight):
                held.runner.fence(held)

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        """Implement :meth:`SessionListener.queue_refused`."""
        self._on_refused(address, error)

    def mark_all_lost(self) -> None:
        """Mark every session as lost and fence its in-flight deliveries."""
        self.lost(list(self._sessions))

    def abandon_all(self) -> None:
        """Cancel the callbacks that still run and give up everything else."""
        for session in list(self._sessions.values()):
            self._abandon(session)

    async def keep_extending(self, consumer: Consumer, every: float) -> None:
        """Extend all in-flight deliveries every ``every`` seconds until cancelled; fence those that were lost."""
        while True:
            await asyncio.sleep(every)
            held = {one.delivery: one for session in self._sessions.values() for one in session.in_flight}
            if held:
                for delivery in await self._extended(consumer, list(held)):
                    held[delivery].runner.fence(held[delivery])

    async def _extended(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        try:
            return await consumer.extend(deliveries)
        except Exception as error:  # noqa: BLE001 - receive() will fail as well; until then nothing is known to be lost
            logger.warning(
                "group %s: extending %d messages failed: %s; trying again", self._group, len(deliveries), error
            )
            return ()

    def _forget(self, sessions: Sequence[Session]) -> int:
        """End ``sessions``. Return how many of them were not over before."""
        for session in sessions:
            session.end()
        return sum(self._sessions.pop(session.id, None) is not None for session in sessions)

    def _abandon(self, session: Session) -> None:
        running = list(session.in_flight)
        if running:
            logger.warning(
                "queue %s, group %s: %d messages were not finished in time; their next session gets them again",
                running[0].delivery.address,
                self._group,
                len(running),
            )
        for held in running:
            if not held.dropped:
                held.runner.abandon(held)

    def _begin_drain(self, session: Session) -> None:
        session.begin_drain()
        for held in session.beyond_cut():
            held.runner.give_up(held)
        for held in (*session.in_state(DeliveryState.QUEUED), *session.in_state(DeliveryState.PAUSED)):
            if held.runner.paused:
                held.runner.drain(held)
        for held in (*session.in_state(DeliveryState.SUSPENDED), *session.in_state(DeliveryState.WAITING)):
            held.runner.expedite(held)
