"""Every planted bug is caught by the test that caught.json names."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.mutation.bugs import BUGS, Bug
from tests.mutation.planting import AT_ONCE, WHOLE, Catch, load, plant, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Runs = dict[str, Future[list[Catch]]]
SOUND = "no bug"


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """What the tests say of each bug that was selected, and of the sources as they are."""
    caught = load()
    names = {item.callspec.params.get("bug") for item in request.session.items if hasattr(item, "callspec")}
    selected = [bug for bug in BUGS if bug in names and bug.name in caught]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sound = pool.submit(run, None, sorted({caught[bug.name].test for bug in selected or BUGS}), WHOLE)
        yield {SOUND: sound} | {bug.name: pool.submit(run, bug, [caught[bug.name].test]) for bug in selected}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_it_is_caught(bug: Bug, runs: Runs) -> None:
    assert bug.name in runs, "no test is named for it: python -m tests.mutation --whole"
    assert runs[bug.name].result(), "the test that is named for it does not fail"


def test_without_a_bug_none_of_these_tests_fails(runs: Runs) -> None:
    assert runs[SOUND].result() == []


def test_no_two_are_caught_for_the_same_reason() -> None:
    caught = load()
    reasons = Counter(caught[bug.name] for bug in BUGS if bug.name in caught)
    assert [reason for reason, count in reasons.items() if count > 1] == []


def test_they_are_many_and_each_is_one_mistake_in_one_place() -> None:
    assert len(BUGS) >= 30
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert all(bug.old != bug.new for bug in BUGS)


@pytest.mark.parametrize("text", ["nothing of it", "twice twice"])
def test_a_place_that_is_not_there_exactly_once_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(AssertionError, match=f"{text.count('twice')} times"):
        plant(Bug("rotten", "file", "twice", ""), tmp_path)
