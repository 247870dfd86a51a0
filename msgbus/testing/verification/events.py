"""What a recording consists of: events, one JSON object a line, the same from every process of one machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Event", "Kind", "UnreadableRecording", "as_line", "read"]


class Kind(StrEnum):
    """What happened."""

    EXISTS = "group exists"
    """From here on the group gets what is published to the queue."""
    INVOKED = "publish invoked"
    CONFIRMED = "publish confirmed"
    FAILED = "publish failed"
    """For certain: it will not arrive."""
    UNKNOWN = "publish unknown"
    HANDED = "handed over"
    """The member has the message in hand; of a dead-letter queue: somebody took the letter."""
    CALLED = "called"
    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"
    """The callback: how a call began and ended."""
    SETTLED = "settled"
    """Acknowledged; of a dead-letter queue: removed."""
    FORWARDING = "passed on"
    """Its copy is on its way to a retry queue or the dead-letter queue."""
    RETRIED = "retried"
    """Its copy is confirmed in a retry queue."""
    DEAD_LETTERED = "dead-lettered"
    REDRIVEN = "redriven"
    """A dead letter is being sent back to its group."""
    ASSIGNED = "assigned"
    DRAINING = "draining"
    REVOKED = "revoked"
    """A session began; it is about to end, and what runs is finished; it ended in good order."""
    LOST = "lost"
    """A session was taken away."""
    FAULT = "fault begins"
    OVER = "fault ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; fields that have nothing to do with it are empty."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    at: int
    """When, in nanoseconds of the machine's monotonic clock, which all its processes share."""
    kind: Kind
    member: str = ""
    """Which broker object; names are unique in a recording."""
    queue: str = ""
    group: str = ""
    part: str = ""
    """Of a queue of the group's own: ``retry.5s``, ``dlq``."""
    id: str = ""
    key: str | None = None
    call: int = 0
    """Of one member: joins the beginning and the end of a publish, a hand-over, a callback's call or a fault."""
    content: str = ""
    """A checksum of body, key, headers and content type."""
    attempt: int = 0
    """Of a call; of a retry: its next one; of a dead letter: how many have failed."""
    outage: bool = False
    """Of a call that raised: with an error that costs no attempt if the subscription pauses."""
    session: str = ""
    origin: str = ""
    """Where the message lies on the server, if that says so."""
    position: int | None = None
    """In a session where acknowledging moves a watermark."""
    detail: str = ""
    """An error, or the name of a fault."""
    members: tuple[str, ...] = ()
    """Whom a fault hits; none named: all."""
    ordered: bool = False
    """The queue keeps the order of keys across members."""
    delayed: bool = False
    """Published with a delay."""


_EVENT: Final = TypeAdapter(Event)


class UnreadableRecording(Exception):
    """A file that is no recording; says which line."""


def as_line(event: Event) -> bytes:
    """``event`` as a line of a file."""
    return _EVENT.dump_json(event, exclude_defaults=True) + b"\n"


def read(*paths: Path) -> list[Event]:
    """The events of all files, in the order of time. A last line that was cut off is left out.

    Raises UnreadableRecording, OSError.
    """
    events = [event for path in paths for event in _events(path)]
    return sorted(events, key=lambda event: event.at)


def _events(path: Path) -> list[Event]:
    *lines, _cut = path.read_bytes().split(b"\n")  # what follows the last newline is empty, or was cut off by a kill
    return [_event(path, number, line) for number, line in enumerate(lines, 1)]


def _event(path: Path, number: int, line: bytes) -> Event:
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise UnreadableRecording(f"{path}, line {number}: {error.errors()[0]['msg']}") from error
