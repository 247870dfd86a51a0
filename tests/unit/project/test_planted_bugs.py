"""The places of planted bugs exist: a change of such a line fails here, so that the bug moves along."""

from __future__ import annotations

import pytest

from tests.mutation.bugs import BUGS, Bug
from tests.mutation.planting import ROOT, load


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_its_place_is_there_exactly_once_and_a_test_is_named_for_it(bug: Bug) -> None:
    found = (ROOT / bug.file).read_text().count(bug.old)
    assert found == 1, f"it is there {found} times: make the same mistake in the new lines (tests/mutation/bugs.py)"
    assert bug.name in load(), "python -m tests.mutation --whole"
