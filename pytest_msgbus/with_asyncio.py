"""The fixtures that run in the test's own event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus import Broker
    from msgbus.testing.assertions import RecordedTraffic


@pytest_asyncio.fixture
async def broker(msgbus_notes: RecordedTraffic) -> AsyncIterator[Broker]:
    """A started broker on a memory of its own."""
    from msgbus.testing.plugin import watched_broker

    async with watched_broker(msgbus_notes) as broker:
        yield broker


@pytest_asyncio.fixture
async def virtual_time() -> AsyncIterator[None]:
    """The time of the event loop leaps over what nobody has to wait for; see msgbus.testing.virtual_time."""
    from msgbus.testing.virtual_time import leaping_time

    with leaping_time(asyncio.get_running_loop()):
        yield
