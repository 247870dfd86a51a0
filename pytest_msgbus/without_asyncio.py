"""In place of the asynchronous fixtures: they say what is missing, to those who ask for them."""

from __future__ import annotations

from typing import NoReturn

import pytest


@pytest.fixture
def broker() -> NoReturn:
    """Cannot be had."""
    pytest.fail("the fixture broker needs pytest-asyncio: pip install 'msgbus[testing]'", pytrace=False)


@pytest.fixture
def virtual_time() -> NoReturn:
    """Cannot be had."""
    pytest.fail("the fixture virtual_time needs pytest-asyncio: pip install 'msgbus[testing]'", pytrace=False)
