"""These tests look at the sources. Where only the tests are, beside an installed msgbus, they are skipped."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _sources() -> None:
    if not (ROOT / "msgbus").is_dir():
        pytest.skip("msgbus is installed, and its sources are not here")
