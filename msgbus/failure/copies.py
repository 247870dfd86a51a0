"""What is published of a message that failed or is not due: a copy for a retry queue or the dead-letter queue. Pure.

Body, key, id, time and the user's headers are as they were; ours are replaced and never added, so that they don't grow.
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
"""Seconds that are waited for in hand rather than in another retry queue."""
ERROR_MESSAGE_MAX_BYTES: Final = 1024
TRACEBACK_MAX_BYTES: Final = 4096
"""Bytes of an error's message and traceback."""

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
    """An attempt that failed: with what, when, and when the message failed first (seconds since 1970)."""

    error: BaseException
    at: float
    first: float


def due_at(message: Message) -> float:
    """When ``message`` may be handled at the earliest, in seconds since 1970; 0 for at once."""
    return parse_number(message.system.get(NOT_BEFORE, ""), 0) / 1000


def initial_delay(message: Message, now: float) -> float:
    """Seconds that a message of the queue itself still has to wait for the delay it was published with.

    By the member's clock, and never longer than the delay, which both of its times, the publisher's, say between them.
    """
    due = due_at(message)
    return min(due - now, due - message.time / 1000)


def time_in_tier(address: Address, message: Message, now: float) -> float:
    """Seconds that a message of the retry queue ``address`` is held, counted from now.

    By the member's clock, and never longer than its step: clocks that disagree cost one step at most.
    """
    until = parse_number(message.system.get(TIER_DEADLINE, ""), 0) / 1000
    return min(max(until - now, 0.0), TIER_DELAY_SECONDS.get(address.part, 0.0) + MAX_WAIT_IN_MEMORY_SECONDS)


def remaining_delay(message: Message) -> float:
    """Seconds that are left when its time in this retry queue is over."""
    return max(due_at(message) - parse_number(message.system.get(TIER_DEADLINE, ""), 0) / 1000, 0.0)


def retry_copy(message: Message, wait: float, now: float, changes: Mapping[str, str] | None = None) -> Outgoing:
    """The copy for the retry queue in which ``message`` waits first, when it is due ``wait`` seconds from now."""
    address = tier_for(message.queue, message.group, wait)
    seconds = TIER_DELAY_SECONDS[address.part]
    here = wait if wait - seconds < MAX_WAIT_IN_MEMORY_SECONDS else seconds
    times = {NOT_BEFORE: _ms(now + wait), TIER_DEADLINE: _ms(now + here)}
    if changes is None:  # it only waits on: its free tries are still free
        changes = _kept_free_tries(message, wait) if FREE_TRIES in message.system else {}
    return _copy(message, address, {**_kept(message), **changes, **times})


def free_try_headers(message: Message, failure: Failure, tries: int, wait: float) -> dict[str, str]:
    """Return our headers after a try has failed that costs no attempt, as ``tries`` have by now.

    The message will be due in ``wait`` seconds.
    """
    failing = round((failure.at - failure.first + wait) * 1000)
    counts = {ATTEMPTS: str(message.attempt - 1), FREE_TRIES: str(tries), FAILING_MILLISECONDS: str(failing)}
    return failure_headers(message, failure) | counts


def _kept_free_tries(message: Message, wait: float) -> dict[str, str]:
    failing = parse_number(message.system.get(FAILING_MILLISECONDS, ""), 0) + round(wait * 1000)
    return {FREE_TRIES: message.system[FREE_TRIES], FAILING_MILLISECONDS: str(failing)}


def failure_headers(message: Message, failure: Failure) -> dict[str, str]:
    """Our headers after attempt ``message.attempt`` has failed."""
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
    """The dead letter, whose own id is ``letter``."""
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
    """The copy that sends a dead letter back to its group, as if it had never failed."""
    return _again(letter, now, {REDRIVES: str(parse_number(letter.system.get(REDRIVES, ""), 0) + 1)})


def replayed_copy(message: Message, now: float) -> Outgoing:
    """The copy that sends a message of the queue's history to its group once more."""
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
    return str(math.ceil(seconds * 1000))  # never early, not even by a part of a millisecond


def _type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _bounded(text: str, most: int, *, tail: bool = False) -> str:
    data = text.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")
    cut = data[-most:] if tail else data[:most]
    return cut.decode("utf-8", "ignore")
