"""A publish whose reply was lost, once more: added only where the first try did not arrive.

A first try is a plain XADD and pays nothing. Another try of the same `Outgoing` is a script that looks for an equal
entry among those that are newer than the first try, and adds what it does not find, in one step.

Equal is every field, not the id alone: a message comes into the same retry queue many times under its id. So what is
found is this very publish, and a time that is taken too early costs the script a longer search and nobody a message.
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
"""What a new connection asks, for FirstAttempts.connected()."""
SEARCH_MARGIN_SECONDS: Final = 2.0
"""Seconds that the search begins earlier: the server's clock may have been set since the connection was made."""
_XADD_HEAD_WORDS: Final = 4
"""Words of an XADD before its fields: the command, the key, NOMKSTREAM and ``*``."""


class FirstAttempts:
    """When each publish whose outcome is open was first sent, by the server's clock.

    Forgets what nobody will repeat: it holds an `Outgoing` no longer than the core does.
    """

    def __init__(self) -> None:
        self._sent: WeakKeyDictionary[Outgoing, bytes] = WeakKeyDictionary()
        self._ahead = 0.0

    def connected(self, answer: Any, now: float) -> None:
        """What the server answered to TIME, at ``now`` in the event loop's time; a refusal leaves our own clock."""
        server = float(answer[0]) if isinstance(answer, list) else time.time()
        self._ahead = server - now

    def began(self, now: float) -> bytes:
        """The least entry id of what is sent from ``now`` on."""
        return b"%d-0" % max(int((now + self._ahead - SEARCH_MARGIN_SECONDS) * 1000), 0)

    def record_uncertain(self, outgoing: Outgoing, began: bytes) -> None:
        """A try of it that began then may have arrived."""
        self._sent.setdefault(outgoing, began)

    def first_attempt(self, outgoing: Outgoing) -> bytes | None:
        """Where to look for it; None for one that was never sent or certainly refused."""
        return self._sent.get(outgoing) if self._sent else None  # asking costs a weak reference


def add_missing(key: bytes, since: bytes, adding: Iterable[Command]) -> Command:
    """The script that does those of these XADDs that were not done since then; it answers with one reply for each."""
    words: list[str | bytes | int] = [since]
    for command in adding:
        words += (len(command) - _XADD_HEAD_WORDS, *command[_XADD_HEAD_WORDS:])
    return script_command(ADD_MISSING, key, words)
