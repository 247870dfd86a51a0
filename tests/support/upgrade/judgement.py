"""What is wrong with a run: the promise, judged as always, and the plan of each message."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgbus.testing.verification import Kind, check, report
from tests.support.upgrade.load import COLOUR
from tests.support.upgrade.process_of_a_state import ORDERS, POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from msgbus.testing.verification import Event
    from tests.support.upgrade.load import Sent

__all__ = ["judge", "repeats", "wrong_letters"]

POLICY: Final = POLICIES[ORDERS]
EXHAUSTED_ATTEMPTS: Final = 1 + POLICY.immediate + len(POLICY.delays)
"""What the policy of the queue allows."""
EARLY_SECONDS: Final = 0.05
"""By what a clock that tells the time of day may differ from the one of the recordings, within seconds."""


def judge(events: Sequence[Event], sent: Mapping[str, Sent]) -> list[str]:
    """Return what is wrong, a sentence each."""
    violations = check(events)
    found = [report(events, violations)] if violations else []
    return [*found, *_miscounted(events, sent), *_early(events, sent), *_too_often(events)]


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


def _early(events: Sequence[Event], sent: Mapping[str, Sent]) -> Iterator[str]:
    """No attempt begins before its delay is over: that of the publish, or that of the policy after the last failure.

    Where a fault has left two copies of a message, the earlier one counts.
    """
    begins: dict[tuple[str, int], int] = {}
    for event in events:
        message = sent.get(event.id)
        if message is None:
            continue
        if event.kind is Kind.INVOKED and message.delay is not None:
            begins.setdefault((event.id, 1), event.at + int(message.delay * 1e9))
        elif event.kind is Kind.RAISED and message.queue.startswith(ORDERS):
            delay = (
                POLICY.delays[event.attempt - 1 - POLICY.immediate :][:1] if event.attempt > POLICY.immediate else ()
            )
            begins.setdefault((event.id, event.attempt + 1), event.at + int(sum(delay) * 1e9))
        elif event.kind is Kind.CALLED:
            early = (begins.get((event.id, event.attempt), 0) - event.at) / 1e9
            if early > EARLY_SECONDS:
                yield f"{event.id} began attempt {event.attempt} {early:.2f} s early ({event.member})"


def _too_often(events: Sequence[Event]) -> Iterator[str]:
    """Nothing is handled twice where no member was killed, whatever else may explain it."""
    if not any(event.kind is Kind.FAULT for event in events) and (often := repeats(events)):
        yield f"{often} repeated, and no member was killed: {[id for id, n in _handled(events).items() if n > 1][:5]}"


def _handled(events: Sequence[Event]) -> Counter[str]:
    return Counter(event.id for event in events if event.kind is Kind.RETURNED)
