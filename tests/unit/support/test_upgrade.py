"""Upgrades: what is wrong with a run is found, and an earlier state that cannot be had is refused with the reason."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.testing.verification import Kind
from tests.support.upgrade.judgement import EXHAUSTED_ATTEMPTS, judge, repeats, wrong_letters
from tests.support.upgrade.load import COLOUR, Sent
from tests.support.upgrade.process_of_a_state import ORDERS
from tests.support.upgrade.states import BASELINE, KEPT, NoSuchState, earlier
from tests.support.written_history import A, B, Tale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = Sent("1", "q", "k")


def test_a_run_in_which_each_message_was_handled_once_at_its_attempt_is_right() -> None:
    tale = Tale().published("1").handed(A, "1").failed(A, "1").called(A, "1", 2).ended(A, "1").settled(A, "1")
    assert judge(tale.events, {"1": replace(ONE, failures=1)}) == []


@pytest.mark.parametrize(
    ("tale", "sent", "wrong"),
    [
        (Tale().published("1"), ONE, "LOST"),
        (Tale().published("1").handled(A, "1"), replace(ONE, failures=1), "1 was handled at attempt 1, not 2 (a)"),
        (
            Tale().published("1").handed(A, "1").failed(A, "1").dead(A, "1", 1).settled(A, "1"),
            replace(ONE, dead="exhausted"),
            f"1 was dead-lettered after 1 attempts, not {EXHAUSTED_ATTEMPTS} (a)",
        ),
        (
            Tale().published("1").handled(A, "1").revoked(A).handled(B, "1"),
            ONE,
            "1 repeated, and no member was killed: ['1']",
        ),
    ],
)
def test_what_is_wrong_with_a_run_is_said(tale: Tale, sent: Sent, wrong: str) -> None:
    assert any(wrong in one for one in judge(tale.events, {"1": sent}))


def test_what_a_killed_member_had_in_flight_may_be_repeated_and_is_counted() -> None:
    tale = Tale().published("1").handed(A, "1").called(A, "1").ended(A, "1").killed(A).handled(B, "1")
    assert judge(tale.events, {"1": ONE}) == []
    assert repeats(tale.events) == 1


def test_an_attempt_before_the_delay_of_its_publish_is_early() -> None:
    tale = Tale().published("1", delayed=True).later(7.5).handled(A, "1")
    (wrong,) = judge(tale.events, {"1": replace(ONE, delay=8.0)})
    assert wrong == "1 began attempt 1 0.50 s early (a)"
    assert judge(tale.events, {"1": replace(ONE, delay=7.5)}) == []


@pytest.mark.parametrize(("seconds", "wrong"), [(6.0, ["1 began attempt 4 0.50 s early (b)"]), (6.5, [])])
def test_a_retry_before_the_delay_of_the_policy_is_early(seconds: float, wrong: list[str]) -> None:
    tale = Tale()
    tale.add(Kind.EXISTS, queue=ORDERS, group="g")
    tale.add(Kind.INVOKED, queue=ORDERS, id="1", call=1, content="sum")
    tale.add(Kind.CONFIRMED, queue=ORDERS, id="1", call=1)
    of_it = {"queue": ORDERS, "group": "g", "id": "1"}
    for attempt, waited, member in ((1, 0.0, A), (2, 0.0, A), (3, 1.0, A), (4, seconds, B)):
        tale.later(waited).add(Kind.CALLED, member=member, attempt=attempt, call=attempt, content="sum", **of_it)
        kind = Kind.RAISED if attempt < 4 else Kind.RETURNED
        tale.add(kind, member=member, attempt=attempt, call=attempt, **of_it)
    assert judge(tale.events, {"1": replace(ONE, queue=ORDERS, failures=3)}) == wrong


LETTER = {
    "letter": "l",
    "id": "1",
    "key": "k",
    "headers": {"colour": COLOUR},
    "content_type": "application/json",
    "queue": "q",
    "group": "g",
    "reason": "rejected: not yet",
    "error_message": "not yet",
    "attempts": 1,
    "traceback": "…",
    "first_failure": "2026-01-01",
    "last_failure": "2026-01-01",
    "redrives": 0,
}


def test_a_dead_letter_that_is_as_planned_is_right() -> None:
    assert wrong_letters([LETTER], {"1": replace(ONE, dead="rejected")}) == []


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("attempts", 2, "dead letter of 1: attempts is 2, not 1"),
        ("headers", {}, "dead letter of 1: headers is {}, not {'colour': 'grün'}"),
        ("traceback", "", "dead letter of 1: it has no traceback"),
    ],
)
def test_a_dead_letter_of_which_something_is_missing_is_wrong(name: str, value: Any, wrong: str) -> None:
    assert wrong_letters([{**LETTER, name: value}], {"1": replace(ONE, dead="rejected")}) == [wrong]


def test_a_commit_that_git_does_not_know_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoSuchState, match=r"commit no-such-commit: .*git fetch --unshallow"):
        earlier("no-such-commit", tmp_path)


def test_without_git_the_baseline_alone_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Callable[[str], None] = lambda _: None  # noqa: E731 - as shutil.which()
    monkeypatch.setattr(shutil, "which", nothing)
    with pytest.raises(NoSuchState, match=f"git is not installed; without it only {BASELINE} can be had"):
        earlier("d21fe39", tmp_path)


def test_the_wheel_of_the_baseline_is_kept_with_its_lock_file_and_from_before_the_moves() -> None:
    (wheel,) = (KEPT / BASELINE).glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert {"msgbus/roster.py", "msgbus_kafka/lane.py"} <= set(file.namelist())
        assert file.testzip() is None
    assert "aiokafka==" in (KEPT / BASELINE / "requirements.lock").read_text(encoding="utf-8")
