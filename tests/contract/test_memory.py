"""The contract on memory."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from msgbus.testing import contract
from tests.contract.faults import MemoryFaults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.testing import Harness
    from msgbus.testing.plugin import HarnessOf
    from msgbus.testing.suite import Case


@pytest.fixture
async def harness(harness_of: HarnessOf) -> AsyncIterator[Harness]:
    name = secrets.token_hex(4)
    async with harness_of(f"memory://{name}", MemoryFaults(name)) as harness:
        yield harness


@contract
async def test_contract(case: Case, harness: Harness) -> None:
    await case(harness)
