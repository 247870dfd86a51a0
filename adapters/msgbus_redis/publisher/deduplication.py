"""Deduplication of a publish whose reply was lost: the next attempt adds the message only where it is missing.

A first attempt is a plain XADD, at no extra cost. The next attempt of the same `Outgoing` is a script. It searches the
entries that are newer than the first attempt for an equal one, and adds the message if there is none, in one step.

All fields must be equal, not the id alone: a message passes the same retry queue many times under its id. So an equal
entry is from this same publish. A search that begins too early only makes the script slower.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from msgbus_redis.lua import ADD_MISSING, script_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus.adapter.envelope import Outgoing
    from msgbus_redis.connection.connection import Command

__all__ = ["TIME_COMMAND", "FirstAttempts", "add_missing"]

TIME_COMMAND: Final[Command] = ("TIME",)
"""Command that a new connection sends, for FirstAttempts.connected()."""
SEARCH_MARGIN_SECONDS: Final = 2.0
"""Seconds that a search begins earlier: the server's clock may have been set since the connection was made."""
_XADD_HEAD_WORDS: Final = 4
"""Words of an XADD before its fields: the command, the key, NOMKSTREAM and ``*``."""


class FirstAttempts:
    """Times of the first attempts of publishes whose outcome is unknown, by the server's clock.

    It holds an `Outgoing` weakly: the core, which repeats it, holds it as long as it is needed.
    """

    def __init__(self) -> None:
        self._sent: WeakKeyDictionary[Outgoing, bytes] = WeakKeyDictionary()
        self._ahead = 0.0

    def connected(self, answer: Any, now: float) -> None:
        """Set the server's clock by its reply to TIME, at ``now`` in the event loop's time.

        Where the server refuses TIME, this process's clock is used.
        """
        server = float(answer[0]) if isinstance(answer, list) else time.time()
        self._ahead = server - now

    def began(self, now: float) -> bytes:
        """Return the lowest entry id that a message sent from ``now`` on can get."""
        return b"%d-0" % max(int((now + self._ahead - SEARCH_MARGIN_SECONDS) * 1000), 0)

    def record_uncertain(self, outgoing: Outgoing, began: bytes) -> None:
        """Note that an attempt that began then may have arrived."""
        self._sent.setdefault(outgoing, began)

    def first_attempt(self, outgoing: Outgoing) -> bytes | None:
        """Return the id from which on to search for a message; None where no attempt of it can have arrived."""
        return self._sent.get(outgoing) if self._sent else None  # a lookup makes a weak reference


def add_missing(key: bytes, since: bytes, adding: Iterable[Command]) -> Command:
    """Return the script that runs those XADDs that have no equal entry since ``since``; one reply answers each."""
    words: list[str | bytes | int] = [since]
    for command in adding:
        words += (len(command) - _XADD_HEAD_WORDS, *command[_XADD_HEAD_WORDS:])
    return script_command(ADD_MISSING, key, words)
