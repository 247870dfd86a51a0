"""What is wrong with a run: the promise, judged as always, and the plan of each message."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgbus.testing.verification import Kind, check, report
from tests.support.upgrade.load import COLOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from msgbus.testing.verification import Event
    from tests.support.upgrade.load import Sent

__all__ = ["judge", "repeats", "wrong_letters"]

EXHAUSTED_ATTEMPTS = 4
"""What the policy of the queue allows: see ``process_of_a_state``."""


def judge(events: Sequence[Event], sent: Mapping[str, Sent]) -> list[str]:
    """Return what is wrong, a sentence each."""
    violations = check(events)
    found = [report(events, violations)] if violations else []
    return [*found, *_miscounted(events, sent), *_too_often(events)]


def repeats(events: Sequence[Event]) -> int:
    """Return how many calls handled what had been handled before."""
    return sum(_handled(events).values()) - len(_handled(events))


def wrong_letters(letters: Sequence[Mapping[str, Any]], sent: Mapping[str, Sent]) -> list[str]:
    """Return what is wrong with dead letters as an operator has read them."""
    return [f"dead letter of {one['id']}: {what}" for one in letters for what in _wrong_letter(one, sent[one["id"]])]


def _wrong_letter(letter: Mapping[str, Any], message: Sent) -> Iterator[str]:
    rejected = message.dead == "rejected"
    expected = {
        "key": message.key,
        "headers": {"colour": COLOUR},
        "content_type": "application/json",
        "queue": message.queue,
        "group": "g",
        "reason": "rejected: not yet" if rejected else f"failed {EXHAUSTED_ATTEMPTS} times",
        "attempts": 1 if rejected else EXHAUSTED_ATTEMPTS,
        "error_message": "not yet" if rejected else f"attempt {EXHAUSTED_ATTEMPTS}",
        "redrives": 0,
    }
    for name, value in expected.items():
        if letter[name] != value:
            yield f"{name} is {letter[name]!r}, not {value!r}"
    for name in ("letter", "traceback", "first_failure", "last_failure"):
        if not letter[name]:
            yield f"it has no {name}"


def _miscounted(events: Sequence[Event], sent: Mapping[str, Sent]) -> Iterator[str]:
    """A callback returns at the first attempt that its plan lets succeed, and no attempt is left out or added."""
    for event in events:
        if event.id not in sent:
            continue
        message = sent[event.id]
        if event.kind is Kind.RETURNED and not message.downstream and event.attempt != message.failures + 1:
            yield f"{event.id} was handled at attempt {event.attempt}, not {message.failures + 1} ({event.member})"
        if event.kind is Kind.DEAD_LETTERED:
            due = {"rejected": 1, "exhausted": EXHAUSTED_ATTEMPTS}.get(message.dead)
            if event.attempt != due:
                yield f"{event.id} was dead-lettered after {event.attempt} attempts, not {due} ({event.member})"


def _too_often(events: Sequence[Event]) -> Iterator[str]:
    """Nothing is handled twice where no member was killed, whatever else may explain it."""
    if not any(event.kind is Kind.FAULT for event in events) and (often := repeats(events)):
        yield f"{often} repeated, and no member was killed: {[id for id, n in _handled(events).items() if n > 1][:5]}"


def _handled(events: Sequence[Event]) -> Counter[str]:
    return Counter(event.id for event in events if event.kind is Kind.RETURNED)
