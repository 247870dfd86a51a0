"""The contract on RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus.testing import contract
from tests.contract.faults import RabbitmqFaults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.testing import Harness
    from msgbus.testing.plugin import HarnessOf
    from msgbus.testing.suite import Case
    from tests.support.servers.server import Server


@pytest.fixture
async def harness(harness_of: HarnessOf, rabbitmq_server: Server) -> AsyncIterator[Harness]:
    async with harness_of(rabbitmq_server.url, RabbitmqFaults(rabbitmq_server)) as harness:
        yield harness


@contract
async def test_contract(case: Case, harness: Harness) -> None:
    await case(harness)
