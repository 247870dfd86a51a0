"""The plugin's fixtures where pytest-asyncio is not installed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_msgbus import without_asyncio


@pytest.mark.parametrize("name", ["broker", "virtual_time"])
def test_a_fixture_that_cannot_be_had_says_what_to_install(name: str) -> None:
    fixture: Any = getattr(without_asyncio, name)
    with pytest.raises(pytest.fail.Exception, match=rf"fixture {name} needs pytest-asyncio: pip install"):
        fixture.__wrapped__()
