"""Copies of messages for retry queues and dead-letter queues. Pure.

A copy keeps body, key, id, time and the user's headers. The headers of msgbus are replaced and never added to, so that
they do not grow.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgbus.adapter.envelope import Outgoing, parse_number
from msgbus.adapter.headers import (
    ATTEMPTS,
    CONTENT_TYPE,
    DEAD_LETTER_ID,
    ERROR_MESSAGE,
    ERROR_TRACEBACK,
    ERROR_TYPE,
    FAILING_MILLISECONDS,
    FIRST_FAILURE,
    FREE_TRIES,
    LAST_FAILURE,
    NOT_BEFORE,
    ORIGIN_GROUP,
    ORIGIN_POSITION,
    ORIGIN_QUEUE,
    REASON,
    REDRIVES,
    TIER_DEADLINE,
    TOMBSTONE,
)
from msgbus.failure.retry_queues import SHORTEST_TIER, TIER_DELAY_SECONDS, dead_letter_queue, tier_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgbus.adapter.address import Address
    from msgbus.message import Message

__all__ = [
    "MAX_WAIT_IN_MEMORY_SECONDS",
    "Failure",
    "dead_letter_copy",
    "due_at",
    "failure_headers",
    "free_try_headers",
    "initial_delay",
    "redriven_copy",
    "remaining_delay",
    "replayed_copy",
    "retry_copy",
    "time_in_tier",
]

MAX_WAIT_IN_MEMORY_SECONDS: Final = 1.0
"""Seconds of a remaining delay that are waited in memory, and not in another retry queue."""
ERROR_MESSAGE_MAX_BYTES: Final = 1024
"""Bytes of an error's text, or of a reason, in a header."""
TRACEBACK_MAX_BYTES: Final = 4096
"""Bytes of the end of a traceback in a header."""

_KEPT: Final = (
    ATTEMPTS,
    FIRST_FAILURE,
    LAST_FAILURE,
    ERROR_TYPE,
    ORIGIN_QUEUE,
    ORIGIN_GROUP,
    ORIGIN_POSITION,
    REDRIVES,
    TOMBSTONE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: its error, its time, and the time of the message's first failure (seconds since 1970)."""

    error: BaseException
    at: float
    first: float


def due_at(message: Message) -> float:
    """Return when ``message`` may be handled at the earliest, in seconds since 1970; 0 for at once."""
    return parse_number(message.system.get(NOT_BEFORE, ""), 0) / 1000


def initial_delay(message: Message, now: float) -> float:
    """Return the seconds that remain of the delay with which a message of the queue itself was published.

    Measured by the member's clock, and never longer than the delay, which is the difference of the publisher's times.
    """
    due = due_at(message)
    return min(due - now, due - message.time / 1000)


def time_in_tier(address: Address, message: Message, now: float) -> float:
    """Return the seconds, from ``now``, for which a message of the retry queue ``address`` is held.

    Measured by the member's clock, and never longer than the tier: clocks that disagree cost one tier at most.
    """
    until = parse_number(message.system.get(TIER_DEADLINE, ""), 0) / 1000
    return min(max(until - now, 0.0), TIER_DELAY_SECONDS.get(address.part, 0.0) + MAX_WAIT_IN_MEMORY_SECONDS)


def remaining_delay(message: Message) -> float:
    """Return the seconds that remain when the message's time in this retry queue is over."""
    return max(due_at(message) - parse_number(message.system.get(TIER_DEADLINE, ""), 0) / 1000, 0.0)


def retry_copy(message: Message, wait: float, now: float, changes: Mapping[str, str] | None = None) -> Outgoing:
    """Return the copy for the first retry queue of a message that is due ``wait`` seconds from ``now``.

    ``changes`` are headers of msgbus to set; None if the message only goes on waiting.
    """
    address = tier_for(message.queue, message.group, wait)
    seconds = TIER_DELAY_SECONDS[address.part]
    here = wait if wait - seconds < MAX_WAIT_IN_MEMORY_SECONDS else seconds
    times = {NOT_BEFORE: _ms(now + wait), TIER_DEADLINE: _ms(now + here)}
    if changes is None:  # the message only goes on waiting: its free tries stay free
        changes = _kept_free_tries(message, wait) if FREE_TRIES in message.system else {}
    return _copy(message, address, {**_kept(message), **changes, **times})


def free_try_headers(message: Message, failure: Failure, tries: int, wait: float) -> dict[str, str]:
    """Return msgbus' headers after a free try; ``tries`` have been free by now.

    The message will be due in ``wait`` seconds.
    """
    failing = round((failure.at - failure.first + wait) * 1000)
    counts = {ATTEMPTS: str(message.attempt - 1), FREE_TRIES: str(tries), FAILING_MILLISECONDS: str(failing)}
    return failure_headers(message, failure) | counts


def _kept_free_tries(message: Message, wait: float) -> dict[str, str]:
    failing = parse_number(message.system.get(FAILING_MILLISECONDS, ""), 0) + round(wait * 1000)
    return {FREE_TRIES: message.system[FREE_TRIES], FAILING_MILLISECONDS: str(failing)}


def failure_headers(message: Message, failure: Failure) -> dict[str, str]:
    """Return msgbus' headers after attempt ``message.attempt`` has failed."""
    return {
        ATTEMPTS: str(message.attempt),
        FIRST_FAILURE: message.system.get(FIRST_FAILURE, _ms(failure.first)),
        LAST_FAILURE: _ms(failure.at),
        ERROR_TYPE: _type(failure.error),
        ORIGIN_QUEUE: message.queue,
        ORIGIN_GROUP: message.group,
        ORIGIN_POSITION: message.system.get(ORIGIN_POSITION, message.origin),
    }


def dead_letter_copy(message: Message, failure: Failure, reason: str, letter: str, *, with_traceback: bool) -> Outgoing:
    """Return the dead letter of ``message``; ``letter`` is the dead letter's own id."""
    why = {
        DEAD_LETTER_ID: letter,
        REASON: _bounded(reason, ERROR_MESSAGE_MAX_BYTES),
        ERROR_MESSAGE: _bounded(str(failure.error), ERROR_MESSAGE_MAX_BYTES),
    }
    if with_traceback:
        lines = "".join(traceback.format_exception(failure.error))
        why[ERROR_TRACEBACK] = _bounded(lines, TRACEBACK_MAX_BYTES, tail=True)
    address = dead_letter_queue(message.queue, message.group)
    return _copy(message, address, {**_kept(message), **failure_headers(message, failure), **why})


def redriven_copy(letter: Message, now: float) -> Outgoing:
    """Return the copy that redrives a dead letter to its group, as if it had never failed."""
    return _again(letter, now, {REDRIVES: str(parse_number(letter.system.get(REDRIVES, ""), 0) + 1)})


def replayed_copy(message: Message, now: float) -> Outgoing:
    """Return the copy that replays a message of the queue's history to one group."""
    return _again(message, now, {})


def _again(message: Message, now: float, ours: Mapping[str, str]) -> Outgoing:
    kept = {name: text for name, text in message.system.items() if name == TOMBSTONE}
    times = {NOT_BEFORE: _ms(now), TIER_DEADLINE: _ms(now)}
    return _copy(
        message, tier_for(message.queue, message.group, TIER_DELAY_SECONDS[SHORTEST_TIER]), {**kept, **times, **ours}
    )


def _copy(message: Message, address: Address, ours: Mapping[str, str]) -> Outgoing:
    headers = dict(message.headers)
    if message.content_type:
        headers[CONTENT_TYPE] = message.content_type
    return Outgoing(address, message.id, message.time, message.body, message.key, headers | dict(ours))


def _kept(message: Message) -> dict[str, str]:
    return {name: message.system[name] for name in _KEPT if name in message.system}


def _ms(seconds: float) -> str:
    return str(math.ceil(seconds * 1000))  # rounded up, so that no message is early


def _type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _bounded(text: str, most: int, *, tail: bool = False) -> str:
    data = text.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")
    cut = data[-most:] if tail else data[:most]
    return cut.decode("utf-8", "ignore")
