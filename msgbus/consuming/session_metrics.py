"""What becomes of a group's sessions in this process: counted, and said in the log."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

__all__ = ["SessionCounts", "SessionMetrics"]

logger = logging.getLogger("msgbus.sessions")


@dataclass(slots=True)
class SessionCounts:
    """What became of a group's sessions in this process, and of what they held."""

    assigned: int = 0
    """Sessions that began."""
    revoked: int = 0
    """Those that ended in good order: another member came, a queue was let go of, the broker was closed."""
    lost: int = 0
    """Those that ended without us: the server gave this member up, or the connection broke."""
    drained: int = 0
    """Deliveries that were finished while their session ended."""
    abandoned: int = 0
    """Those that were not, in the time there was: they go back."""
    fenced: int = 0
    """Those in hand when a session was lost: their end counts for nothing, and others get them."""

    @property
    def current(self) -> int:
        """Sessions there are now."""
        return self.assigned - self.revoked - self.lost


class SessionMetrics:
    """Counts a member's sessions, and says so at level INFO, or WARNING for what was not in good order."""

    def __init__(self, group: str, counts: SessionCounts) -> None:
        self.counts = counts
        self._group = group
        self._begun = 0

    def record_begun(self) -> None:
        """A session begins; those of one assignment are told together."""
        self.counts.assigned += 1
        self._begun += 1
        if self._begun == 1:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        begun, self._begun = self._begun, 0
        logger.info("group %s: %d sessions assigned, %d in all", self._group, begun, self.counts.current)

    def record_revoked(self, sessions: int, drained: int, abandoned: int) -> None:
        """So many sessions ended in good order."""
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
        """So many sessions were lost."""
        self.counts.lost += sessions
        self.counts.fenced += fenced
        logger.warning(
            "group %s: %d sessions lost, %d messages in hand: others get them", self._group, sessions, fenced
        )
