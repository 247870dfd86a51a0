"""Substitutes for the asynchronous fixtures where pytest-asyncio is missing: they fail and name the package."""

from __future__ import annotations

from typing import NoReturn

import pytest


@pytest.fixture
def broker() -> NoReturn:
    """Fail the test: this fixture needs pytest-asyncio."""
    pytest.fail("the fixture broker needs pytest-asyncio: pip install 'msgbus[testing]'", pytrace=False)


@pytest.fixture
def virtual_time() -> NoReturn:
    """Fail the test: this fixture needs pytest-asyncio."""
    pytest.fail("the fixture virtual_time needs pytest-asyncio: pip install 'msgbus[testing]'", pytrace=False)
