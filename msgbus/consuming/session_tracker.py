"""What a member has in hand: its sessions, as they begin, end in good order, or are lost.

It is the listener of the member's consumer, and may be called from any task of an adapter's: a drain does not need the
member's loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgbus.in_flight.deliveries import Session, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from msgbus.adapter import Consumer
    from msgbus.adapter.envelope import Delivery
    from msgbus.consuming.session_metrics import Observed

__all__ = ["Hands"]

logger = logging.getLogger("msgbus")


class Hands:
    """See SessionListener."""

    def __init__(self, group: str, observed: Observed, flush: Callable[[], Awaitable[None]]) -> None:
        """``flush`` waits until what is done is acknowledged."""
        self._group = group
        self._observed = observed
        self._flush = flush
        self._sessions: dict[Hashable, Session] = {}

    def find(self, session: Hashable) -> Session | None:
        """The session, if what is received of it may be taken in hand."""
        found = self._sessions.get(session)
        return None if found is None or found.draining else found

    def begun(self, session: Hashable) -> None:
        """See SessionListener."""
        self._sessions[session] = Session(session)
        self._observed.begun()

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        """See SessionListener: the cut drain."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        for session in mine:
            _begin_to_drain(session)
        in_hand, abandoned = sum(len(session.held) for session in mine), 0
        try:
            async with asyncio.timeout(budget):
                for session in mine:
                    await session.empty()
        except TimeoutError:
            abandoned = sum(len(session.held) for session in mine)
            for session in mine:
                self._abandon(session)
        await self._flush()
        if ended := self._forget(mine):
            self._observed.revoked(ended, in_hand - abandoned, abandoned)

    def lost(self, sessions: Sequence[Hashable]) -> None:
        """See SessionListener."""
        mine = [self._sessions[one] for one in sessions if one in self._sessions]
        if ended := self._forget(mine):
            self._observed.lost(ended, sum(len(session.held) for session in mine))
        for session in mine:
            for held in list(session.held):
                held.workers.fence(held)

    def lose_all(self) -> None:
        """The consumer is gone, and every session with it."""
        self.lost(list(self._sessions))

    def abandon_all(self) -> None:
        """Grace is over: callbacks that still run are cancelled."""
        for session in list(self._sessions.values()):
            self._abandon(session)

    async def extend(self, consumer: Consumer, every: float) -> None:
        """Say every so many seconds, for ever, that what is held is still worked on; fence what is somebody else's."""
        while True:
            await asyncio.sleep(every)
            held = {one.delivery: one for session in self._sessions.values() for one in session.held}
            if held:
                for delivery in await self._extended(consumer, list(held)):
                    held[delivery].workers.fence(held[delivery])

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
        running = list(session.held)
        if running:
            logger.warning(
                "queue %s, group %s: %d messages were not finished in time; they go back",
                running[0].delivery.address,
                self._group,
                len(running),
            )
        for held in running:
            if not held.dropped:
                held.workers.abandon(held)


def _begin_to_drain(session: Session) -> None:
    session.draining = True
    for held in session.beyond_cut():
        held.workers.give_up(held)
    for held in (*session.at(Stage.QUEUED), *session.at(Stage.PAUSED)):
        if held.workers.paused:
            held.workers.drain(held)
    for held in (*session.at(Stage.PARKED), *session.at(Stage.WAITING)):
        held.workers.hurry(held)
