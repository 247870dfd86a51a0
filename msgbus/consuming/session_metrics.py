"""Session metrics: counts what happens to the sessions of a group in this process, and logs it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

__all__ = ["SessionCounts", "SessionMetrics"]

logger = logging.getLogger("msgbus.sessions")


@dataclass(slots=True)
class SessionCounts:
    """Counts of the sessions of a group in this process, and of their deliveries."""

    assigned: int = 0
    """Sessions that began."""
    revoked: int = 0
    """Sessions that ended in good order: another member joined, a queue was released, the broker was closed."""
    lost: int = 0
    """Sessions that ended without a drain: the server gave this member up, or the connection broke."""
    drained: int = 0
    """Deliveries that were finished while their session ended."""
    abandoned: int = 0
    """Deliveries that a drain did not finish in time: they go back to the broker."""
    fenced: int = 0
    """Deliveries in flight when their session was lost: their outcome does not count, and other members get them."""

    @property
    def current(self) -> int:
        """Sessions that exist now."""
        return self.assigned - self.revoked - self.lost


class SessionMetrics:
    """Counts the sessions of a member, and logs their ends: at INFO in good order, else at WARNING."""

    def __init__(self, group: str, counts: SessionCounts) -> None:
        self.counts = counts
        self._group = group
        self._begun = 0

    def record_begun(self) -> None:
        """Count a session that begins; sessions that begin together are logged together."""
        self.counts.assigned += 1
        self._begun += 1
        if self._begun == 1:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        begun, self._begun = self._begun, 0
        logger.info("group %s: %d sessions assigned, %d in all", self._group, begun, self.counts.current)

    def record_revoked(self, sessions: int, drained: int, abandoned: int) -> None:
        """Count ``sessions`` that ended in good order, and their deliveries."""
        self.counts.revoked += sessions
        self.counts.drained += drained
        self.counts.abandoned += abandoned
        logger.log(
            logging.WARNING if abandoned else logging.INFO,
            "group %s: %d sessions revoked: %d messages drained, %d abandoned",
            self._group,
            sessions,
            drained,
            abandoned,
        )

    def record_lost(self, sessions: int, fenced: int) -> None:
        """Count ``sessions`` that were lost, and their deliveries."""
        self.counts.lost += sessions
        self.counts.fenced += fenced
        logger.warning(
            "group %s: %d sessions lost, %d messages in flight: other members get them", self._group, sessions, fenced
        )
