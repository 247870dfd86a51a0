"""What a member has in hand: its sessions, as they begin, end in good order, or are lost.

It is the listener of the member's consumer, and may be called from any task of an adapter's: a drain does not need the
member's loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.in_flight.deliveries import DeliveryState, Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from msgbus.adapter import Consumer
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.session_metrics import SessionMetrics

__all__ = ["SessionTracker"]

logger = logging.getLogger("msgbus")


class SessionTracker:
    """See SessionListener."""

    def __init__(self, group: str, observed: SessionMetrics, flush: Callable[[], Awaitable[None]]) -> None:
        """``flush`` waits until what is done is acknowledged."""
        self._group = group
        self._metrics = observed
        self._flush = flush
        self._sessions: dict[Hashable, Session] = {}

    def find(self, session: Hashable) -> Session | None:
        """The session, if what is received of it may be taken in hand."""
        found = self._sessions.get(session)
        return None if found is None or found.draining else found

    def begun(self, session: Hashable) -> None:
        """See SessionListener."""
        self._sessions[session] = Session(session)
        self._metrics.record_begun()

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """See SessionListener: the cut drain."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        for session in mine:
            _begin_to_drain(session)
        in_hand, abandoned = sum(len(session.in_flight) for session in mine), 0
        try:
            async with asyncio.timeout(budget):
                for session in mine:
                    await session.wait_until_empty()
        except TimeoutError:
            abandoned = sum(len(session.in_flight) for session in mine)
            for session in mine:
                self._abandon(session)
        await self._flush()
        if ended := self._forget(mine):
            self._metrics.record_revoked(ended, in_hand - abandoned, abandoned)

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """See SessionListener."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        if ended := self._forget(mine):
            self._metrics.record_lost(ended, sum(len(session.in_flight) for session in mine))
        for session in mine:
            for held in list(session.in_flight):
                held.runner.fence(held)

    def mark_all_lost(self) -> None:
        """The consumer is gone, and every session with it."""
        self.lost(list(self._sessions))

    def abandon_all(self) -> None:
        """Grace is over: callbacks that still run are cancelled."""
        for session in list(self._sessions.values()):
            self._abandon(session)

    async def keep_extending(self, consumer: Consumer, every: float) -> None:
        """Say every so many seconds, for ever, that what is held is still worked on; fence what is somebody else's."""
        while True:
            await asyncio.sleep(every)
            held = {one.delivery: one for session in self._sessions.values() for one in session.in_flight}
            if held:
                for delivery in await self._extended(consumer, list(held)):
                    held[delivery].runner.fence(held[delivery])

    async def _extended(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        try:
            return await consumer.extend(deliveries)
        except Exception as error:  # noqa: BLE001 - receive() will say the same; until then nothing is known to be lost
            logger.warning("group %s: extending %d messages failed: %s", self._group, len(deliveries), error)
            return ()

    def _forget(self, sessions: Sequence[Session]) -> int:
        """These are over; how many of them were not before."""
        for session in sessions:
            session.over = True
        return sum(self._sessions.pop(session.id, None) is not None for session in sessions)

    def _abandon(self, session: Session) -> None:
        running = list(session.in_flight)
        if running:
            logger.warning(
                "queue %s, group %s: %d messages were not finished in time; they go back",
                running[0].delivery.address,
                self._group,
                len(running),
            )
        for held in running:
            if not held.dropped:
                held.runner.abandon(held)


def _begin_to_drain(session: Session) -> None:
    session.draining = True
    for held in session.beyond_cut():
        held.runner.give_up(held)
    for held in (*session.in_state(DeliveryState.QUEUED), *session.in_state(DeliveryState.PAUSED)):
        if held.runner.paused:
            held.runner.drain(held)
    for held in (*session.in_state(DeliveryState.SUSPENDED), *session.in_state(DeliveryState.WAITING)):
        held.runner.expedite(held)
