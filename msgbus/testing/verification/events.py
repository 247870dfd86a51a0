"""Events of a recording: one JSON object per line, the same format from every process of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Event", "Kind", "UnreadableRecording", "as_line", "read"]


class Kind(StrEnum):
    """Kind of an event."""

    EXISTS = "group exists"
    """From now on the group gets what is published to the queue."""
    INVOKED = "publish invoked"
    CONFIRMED = "publish confirmed"
    FAILED = "publish failed"
    """Certainly: the message will not arrive."""
    UNKNOWN = "publish unknown"
    HANDED = "handed over"
    """The message is in flight in a member; of a dead-letter queue: the dead letter was locked."""
    CALLED = "called"
    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"
    """Begin and end of a callback's call."""
    SETTLED = "settled"
    """Acknowledged; of a dead-letter queue: removed."""
    FORWARDING = "passed on"
    """The publish of its copy to a retry queue or the dead-letter queue has begun."""
    RETRIED = "retried"
    """The publish of its copy to a retry queue was confirmed."""
    DEAD_LETTERED = "dead-lettered"
    REDRIVEN = "redriven"
    """The publish of a dead letter to its group has begun."""
    ASSIGNED = "assigned"
    DRAINING = "draining"
    REVOKED = "revoked"
    """A session began; its drain began; it ended after its drain."""
    LOST = "lost"
    """A session was lost without a drain."""
    FAULT = "fault begins"
    OVER = "fault ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; fields that do not apply to its kind are empty."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    at: int
    """Time in nanoseconds of the machine's monotonic clock, which all its processes share."""
    kind: Kind
    member: str = ""
    """Name of the broker object, unique in a recording."""
    queue: str = ""
    group: str = ""
    part: str = ""
    """Part of a group's own queue: ``retry.5s``, ``dlq``."""
    id: str = ""
    key: str | None = None
    call: int = 0
    """Number, unique in a member, that joins begin and end of a publish, a hand-over, a call or a fault."""
    content: str = ""
    """Checksum of body, key, headers and content type."""
    attempt: int = 0
    """Attempt of a call; of a retry: the next attempt; of a dead letter: the number of failed attempts."""
    outage: bool = False
    """The call raised an error that costs no attempt if the subscription pauses."""
    session: str = ""
    origin: str = ""
    """The message's place on the server, if the server tells it."""
    position: int | None = None
    """The message's position in a session whose acknowledgements advance a watermark."""
    detail: str = ""
    """Type of an error, or name of a fault."""
    members: tuple[str, ...] = ()
    """Members that a fault hits; empty: all."""
    ordered: bool = False
    """The queue keeps the order of a key across members."""
    delayed: bool = False
    """The message was published with a delay."""


_EVENT: Final = TypeAdapter(Event)


class UnreadableRecording(Exception):
    """A file is not a recording; the text names the line."""


def as_line(event: Event) -> bytes:
    """Encode ``event`` as a line of a file."""
    return _EVENT.dump_json(event, exclude_defaults=True) + b"\n"


def read(*paths: Path) -> list[Event]:
    """Read the events of recordings. An incomplete last line is left out.

    Args:
        *paths: The files of all processes.

    Returns:
        The events of all files, in order of time.

    Raises:
        UnreadableRecording: A file is no recording.
        OSError: A file cannot be read.
    """
    events = [event for path in paths for event in _events(path)]
    return sorted(events, key=lambda event: event.at)


def _events(path: Path) -> list[Event]:
    *lines, _cut = path.read_bytes().split(
        b"\n"
    )  # the part behind the last newline is empty, or incomplete after a kill
    return [_event(path, number, line) for number, line in enumerate(lines, 1)]


def _event(path: Path, number: int, line: bytes) -> Event:
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise UnreadableRecording(f"{path}, line {number}: {error.errors()[0]['msg']}") from error
