"""Corpus of the checker: for each violation recordings that must be reported, and near misses that must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgbus.testing.verification import Kind, ViolationKind, check, report
from tests.support.written_history import A, B, Tale

if TYPE_CHECKING:
    import random


def tale(*, ordered: bool = False) -> Tale:
    return Tale(ordered=ordered)


def log() -> Tale:
    """On a broker where acknowledging moves a watermark."""
    made = Tale(ordered=True)
    made.logged = True
    return made


def published_during_a_kill() -> Tale:
    """Message 1: the member that is being killed may have fetched it, and recorded nothing of it."""
    made = tale()
    made.add(Kind.FAULT, call=99, members=(A,), detail="killed")
    made.published("1")
    made.add(Kind.OVER, call=99)
    return made.published("2")


REPORTED: dict[str, tuple[ViolationKind, Tale]] = {
    "confirmed and never seen again": (ViolationKind.LOST, tale().published("1", "2").handled(A, "1")),
    "failed, and neither retried nor dead-lettered": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").failed(A, "1"),
    ),
    "in the hand of a killed member": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").called(A, "1").killed(A),
    ),
    "sent back from the dead letters and never seen again": (
        ViolationKind.LOST,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .dead(A, "1", 1)
        .settled(A, "1")
        .handed(B, "1", part="dlq")
        .redriven(B, "1")
        .settled(B, "1", part="dlq"),
    ),
    "acknowledged before it was handled": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").settled(A, "1").called(A, "1").ended(A, "1"),
    ),
    "acknowledged before its dead letter was there": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").failed(A, "1").settled(A, "1").dead(A, "1", 1),
    ),
    "a letter removed before it was sent back": (
        ViolationKind.LOST,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .dead(A, "1", 1)
        .settled(A, "1")
        .handed(B, "1", part="dlq")
        .settled(B, "1", part="dlq")
        .redriven(B, "1")
        .retried(B, "1", 1)
        .handed(A, "1", part="retry.1s")
        .called(A, "1")
        .ended(A, "1"),
    ),
    "handled and never published": (ViolationKind.PHANTOM, tale().handled(A, "1")),
    "handled although its publish failed for certain": (
        ViolationKind.PHANTOM,
        tale().published("1", verdict=Kind.FAILED).handled(A, "1"),
    ),
    "handled before it was published": (ViolationKind.PHANTOM, tale().handled(A, "1").published("1")),
    "another body": (
        ViolationKind.CORRUPT,
        tale().published("1").handed(A, "1").called(A, "1", content="other").ended(A, "1"),
    ),
    "another body at the second try": (
        ViolationKind.CORRUPT,
        tale().published("1").handed(A, "1").failed(A, "1").called(A, "1", 2, content="other").ended(A, "1"),
    ),
    "out of order although the other member was dead before it was published": (
        ViolationKind.ORDER,
        tale().killed(A).published("1").published("2").handled(B, "2", "1"),
    ),
    "of one publish_many the second came first": (ViolationKind.ORDER, tale().published("1", "2").handled(A, "2", "1")),
    "of two publishes one after the other the second came first": (
        ViolationKind.ORDER,
        tale().published("1").published("2").handled(A, "2", "1"),
    ),
    "out of order across members of a queue that keeps it": (
        ViolationKind.ORDER,
        tale(ordered=True).published("1", "2").handed(A, "1").handled(B, "2").called(A, "1").ended(A, "1"),
    ),
    "two calls of one key in a member": (
        ViolationKind.OVERLAP,
        tale().published("1", "2").handed(A, "1", "2").called(A, "1").called(A, "2").ended(A, "1").ended(A, "2"),
    ),
    "one message in two members": (
        ViolationKind.OVERLAP,
        tale()
        .published("1", key=None)
        .published("1", key=None, verdict=Kind.FAILED)
        .handed(A, "1")
        .called(A, "1")
        .handed(B, "1")
        .called(B, "1")
        .ended(A, "1")
        .ended(B, "1", Kind.RAISED),
    ),
    "one key in two members of a queue that keeps order": (
        ViolationKind.OVERLAP,
        tale(ordered=True)
        .published("1", "2")
        .handed(A, "1")
        .called(A, "1")
        .handed(B, "2")
        .called(B, "2")
        .ended(A, "1")
        .ended(B, "2"),
    ),
    "twice without a fault": (ViolationKind.DUPLICATE, tale().published("1").handled(A, "1").handled(B, "1")),
    "again after a graceful leave": (
        ViolationKind.DUPLICATE,
        tale().published("1").handed(A, "1").called(A, "1").ended(A, "1").revoked(A).handled(B, "1"),
    ),
    "again after another member was killed": (
        ViolationKind.DUPLICATE,
        tale().published("1").handed(A, "1").called(A, "1").ended(A, "1").killed(B).revoked(A).handled(B, "1"),
    ),
    "three times with one fault": (
        ViolationKind.DUPLICATE,
        tale()
        .published("1")
        .handed(A, "1")
        .called(A, "1")
        .ended(A, "1")
        .killed(A)
        .handed(B, "1")
        .called(B, "1")
        .ended(B, "1")
        .revoked(B)
        .handled("c", "1"),
    ),
    "passed on although its session was lost": (
        ViolationKind.DUPLICATE,
        tale()
        .published("1")
        .handed(A, "1")
        .called(A, "1")
        .lost(A)
        .handled(B, "1")
        .ended(A, "1", Kind.RAISED)
        .forwarding(A, "1"),
    ),
    "settled long before the fault": (
        ViolationKind.DUPLICATE,
        tale().published("1").handled(A, "1").later(5).killed(A).handled(B, "1"),
    ),
    "a shutdown counted as an attempt": (
        ViolationKind.ATTEMPT,
        tale()
        .published("1")
        .handed(A, "1")
        .called(A, "1")
        .ended(A, "1", Kind.CANCELLED)
        .revoked(A)
        .handed(B, "1")
        .called(B, "1", attempt=2)
        .ended(B, "1"),
    ),
    "a failure that was not counted": (
        ViolationKind.ATTEMPT,
        tale().published("1").handed(A, "1").failed(A, "1").called(A, "1", attempt=1).ended(A, "1"),
    ),
    "a count that a retry queue has forgotten": (
        ViolationKind.ATTEMPT,
        tale().published("1").handed(A, "1").failed(A, "1").retried(A, "1", attempt=1),
    ),
    "a dead letter that says too little": (
        ViolationKind.ATTEMPT,
        tale().published("1").handed(A, "1").failed(A, "1").failed(A, "1", 2).dead(A, "1", attempts=1),
    ),
    "settled in good order and handed over again": (
        ViolationKind.REGRESS,
        log().published("1").handled(A, "1").revoked(A).handed(B, "1"),
    ),
    "settled long ago and handed over again after a fault": (
        ViolationKind.REGRESS,
        log().published("1").handled(A, "1").later(5).killed(A).handed(B, "1"),
    ),
}

NEAR_MISSES: dict[str, tuple[ViolationKind, Tale]] = {
    "called and failed again before the first member was told that its copy is there": (
        ViolationKind.ATTEMPT,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .forwarding(A, "1")
        .handed(B, "1", part="retry.1s")
        .failed(B, "1", attempt=2)
        .retried(A, "1", 2)
        .settled(A, "1"),
    ),
    "on its way when its session was lost": (
        ViolationKind.DUPLICATE,
        tale().published("1").handed(A, "1").failed(A, "1").forwarding(A, "1").lost(A).handled(B, "1"),
    ),
    "sent back from the dead letters by a member whose session was over": (
        ViolationKind.DUPLICATE,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .forwarding(A, "1")
        .dead(A, "1", 1)
        .settled(A, "1")
        .revoked(A)
        .handed(A, "1", session=2, part="dlq")
        .redriven(A, "1")
        .forwarding(A, "1")
        .settled(A, "1", session=2, part="dlq")
        .handed(B, "1", part="retry.1s")
        .called(B, "1")
        .ended(B, "1")
        .settled(B, "1", part="retry.1s"),
    ),
    "unconfirmed and never seen": (
        ViolationKind.LOST,
        tale().published("1", verdict=Kind.UNKNOWN).published("2", verdict=None).published("3", verdict=Kind.FAILED),
    ),
    "dead-lettered": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").failed(A, "1").dead(A, "1", 1).settled(A, "1"),
    ),
    "in the hand of a killed member, then handled by another": (
        ViolationKind.LOST,
        tale().published("1").handed(A, "1").called(A, "1").killed(A).handled(B, "1"),
    ),
    "dead-lettered and purged": (
        ViolationKind.LOST,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .dead(A, "1", 1)
        .settled(A, "1")
        .handed(B, "1", part="dlq")
        .settled(B, "1", part="dlq"),
    ),
    "handled, though nobody knows whether it was published": (
        ViolationKind.PHANTOM,
        tale().published("1", verdict=Kind.UNKNOWN).handled(A, "1"),
    ),
    "handled before its publisher knew": (
        ViolationKind.PHANTOM,
        tale().published("1", verdict=None).handled(A, "1"),
    ),
    "published twice with two bodies": (
        ViolationKind.CORRUPT,
        tale()
        .published("1", verdict=Kind.UNKNOWN)
        .published("1")
        .handed(A, "1")
        .called(A, "1", content="sum")
        .ended(A, "1"),
    ),
    "another checksum where nobody recorded the publish": (
        ViolationKind.CORRUPT,
        tale().handed(A, "1").called(A, "1", content="other"),
    ),
    "two keys": (ViolationKind.ORDER, tale().published("1", key="k").published("2", key="l").handled(A, "2", "1")),
    "no key": (ViolationKind.ORDER, tale().published("1", "2", key=None).handled(A, "2", "1")),
    "published at the same time": (
        ViolationKind.ORDER,
        tale().published("1", verdict=None).published("2").handled(A, "2", "1"),
    ),
    "in two members of a queue that promises no order across them": (
        ViolationKind.ORDER,
        tale().published("1", "2").handed(A, "1").handled(B, "2").called(A, "1").ended(A, "1"),
    ),
    "out of order after a retry queue": (
        ViolationKind.ORDER,
        tale()
        .published("1", "2")
        .handed(A, "1")
        .failed(A, "1")
        .retried(A, "1", 2)
        .settled(A, "1")
        .handled(A, "2")
        .handed(A, "1", part="retry.1s")
        .called(A, "1", 2)
        .ended(A, "1"),
    ),
    "out of order since another member was killed while it was published": (
        ViolationKind.ORDER,
        published_during_a_kill().handled(B, "2", "1"),
    ),
    "out of order since another member gave it back": (
        ViolationKind.ORDER,
        tale().published("1", "2").handed(A, "1").handled(B, "2").revoked(A).handled(B, "1", session=2),
    ),
    "delayed": (
        ViolationKind.ORDER,
        tale().published("1", delayed=True).published("2").handled(A, "2", "1"),
    ),
    "one key, one after the other": (ViolationKind.OVERLAP, tale().published("1", "2").handled(A, "1", "2")),
    "one key in two members of a queue that promises nothing across them": (
        ViolationKind.OVERLAP,
        tale().published("1", "2").handed(A, "1").called(A, "1").handled(B, "2").ended(A, "1"),
    ),
    "a callback that outlived its session": (
        ViolationKind.OVERLAP,
        tale().published("1").handed(A, "1").called(A, "1").lost(A).handed(B, "1").called(B, "1").ended(A, "1"),
    ),
    "two copies in the retry queue, since a fault met the failed message": (
        ViolationKind.OVERLAP,
        tale()
        .published("1", key=None)
        .handed(A, "1")
        .called(A, "1")
        .ended(A, "1", Kind.RAISED)
        .retried(A, "1", attempt=2)
        .killed(A)
        .handed(B, "1")
        .called(B, "1")
        .ended(B, "1", Kind.RAISED)
        .retried(B, "1", attempt=2)
        .handed(B, "1", part="retry.1s")
        .called(B, "1", attempt=2)
        .handed("c", "1", part="retry.1s")
        .called("c", "1", attempt=2)
        .ended(B, "1")
        .ended("c", "1"),
    ),
    "a killed member's call": (
        ViolationKind.OVERLAP,
        tale().published("1").handed(A, "1").called(A, "1").killed(A).handled(B, "1"),
    ),
    "again after the fault that met it in flight": (
        ViolationKind.DUPLICATE,
        tale().published("1").handed(A, "1").called(A, "1").ended(A, "1").killed(A).handled(B, "1"),
    ),
    "again after a fault just after it was settled": (
        ViolationKind.DUPLICATE,
        tale().published("1").handled(A, "1").later(0.15).killed(A).handled(B, "1"),
    ),
    "settled above what was not, then killed": (
        ViolationKind.DUPLICATE,
        log().published("1", "2").handed(A, "1", "2").handled(A, "2").later(5).killed(A).handled(B, "1", "2"),
    ),
    "published twice, since nobody knew": (
        ViolationKind.DUPLICATE,
        tale().published("1", verdict=Kind.UNKNOWN).published("1").handled(A, "1").handled(B, "1"),
    ),
    "a publish that met a fault": (
        ViolationKind.DUPLICATE,
        tale().published("0", verdict=None).killed("p").handled(A, "0").handled(B, "0"),
    ),
    "in place, then from a retry queue, then dead": (
        ViolationKind.ATTEMPT,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .failed(A, "1", 2)
        .retried(A, "1", 3)
        .settled(A, "1")
        .handed(B, "1", part="retry.1s")
        .failed(B, "1", 3)
        .dead(B, "1", 3)
        .settled(B, "1", part="retry.1s"),
    ),
    "tries in place that a crash interrupted": (
        ViolationKind.ATTEMPT,
        tale().published("1").handed(A, "1").failed(A, "1").failed(A, "1", 2).killed(A).handled(B, "1"),
    ),
    "from the beginning after a redrive": (
        ViolationKind.ATTEMPT,
        tale()
        .published("1")
        .handed(A, "1")
        .failed(A, "1")
        .dead(A, "1", 1)
        .settled(A, "1")
        .handed(B, "1", part="dlq")
        .redriven(B, "1")
        .retried(B, "1", 1)
        .settled(B, "1", part="dlq")
        .handed(A, "1", part="retry.1s")
        .called(A, "1", 1)
        .ended(A, "1"),
    ),
    "an outage, which costs no attempt": (
        ViolationKind.ATTEMPT,
        tale().published("1").handed(A, "1").failed(A, "1").killed(A).called(A, "1", 1).ended(A, "1"),
    ),
    "handed over again before it was settled for good": (
        ViolationKind.REGRESS,
        log().published("1").handled(A, "1").later(0.15).killed(A).handed(B, "1"),
    ),
    "settled above what was not": (
        ViolationKind.REGRESS,
        log().published("1", "2").handed(A, "1").handled(A, "2").revoked(A).handed(B, "1", "2"),
    ),
    "settled when its session was lost already": (
        ViolationKind.REGRESS,
        log().published("1").handed(A, "1").called(A, "1").lost(A).ended(A, "1").settled(A, "1").handed(B, "1"),
    ),
}


@pytest.mark.parametrize("name", REPORTED)
def test_it_is_reported(name: str) -> None:
    verdict, told = REPORTED[name]
    assert verdict in told.verdicts()


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_near_miss_is_not_reported(name: str) -> None:
    verdict, told = NEAR_MISSES[name]
    assert verdict not in told.verdicts()


def test_every_verdict_has_two_histories_of_each_kind() -> None:
    for corpus in (REPORTED, NEAR_MISSES):
        verdicts = [verdict for verdict, _ in corpus.values()]
        assert {verdict: verdicts.count(verdict) >= 2 for verdict in ViolationKind} == dict.fromkeys(
            ViolationKind, True
        )


def test_an_excerpt_is_short_and_shows_it() -> None:
    told = tale().published(*(str(n) for n in range(100))).handled(A, *(str(n) for n in range(99)))
    (finding,) = check(told.events)
    assert finding.verdict is ViolationKind.LOST
    assert {event.id for event in finding.excerpt} <= {"", "99"}
    assert len(finding.excerpt) <= 5


def test_a_report_says_what_was_seen_and_what_is_wrong() -> None:
    told = tale().published("1", "2", "3", "4", "5", key="k").handled(A, "1")
    text = report(told.events, check(told.events))
    assert text.startswith("the promise was broken: 4 LOST\n15 events of 2 members: 5 publish confirmed, 1 handed over")
    assert text.count("LOST: message") == 3
    assert "LOST: and 1 more" in text
    kept = tale().published("1").handled(A, "1")
    assert report(kept.events, check(kept.events)).startswith("the promise was kept")


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 30))
def test_the_order_of_the_lines_does_not_matter(chance: random.Random, count: int) -> None:
    told = tale().published(*(str(n) for n in range(count))).handled(A, *(str(n) for n in range(1, count)))
    before = check(told.events)
    chance.shuffle(told.events)
    assert check(told.events) == before


@settings(max_examples=100, deadline=None)
@given(st.permutations([str(n) for n in range(8)]))
def test_order_is_kept_exactly_when_nothing_is_reported(order: list[str]) -> None:
    told = tale().published(*sorted(order)).handled(A, *order)
    assert (told.verdicts() == []) == (order == sorted(order))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("0123"), st.booleans()), max_size=12))
def test_duplicates_are_those_that_no_fault_has_met(again: list[tuple[str, bool]]) -> None:
    told, session = tale().published("0", "1", "2", "3", key=None).handled(A, "0", "1", "2", "3"), 1
    told.revoked(A)
    for id, killed in again:
        session += 1
        told.later(5).handed(A, id, session=session).called(A, id).ended(A, id)
        told = told.killed(A) if killed else told.revoked(A, session)
    counts = {id: 1 + sum(1 for one, _ in again if one == id) for id in "0123"}
    met = {id: sum(1 for one, killed in again if one == id and killed) for id in "0123"}
    expected = {id for id in "0123" if counts[id] > 1 + met[id]}
    reported = {one.excerpt[-1].id for one in check(told.events) if one.verdict is ViolationKind.DUPLICATE}
    assert reported == expected
