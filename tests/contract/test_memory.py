"""The contract on memory."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from msgbus.testing import Harness, contract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.testing.suite import Case


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness(f"memory://{secrets.token_hex(4)}") as harness:
        yield harness


@contract
async def test_contract(case: Case, harness: Harness) -> None:
    await case(harness)
