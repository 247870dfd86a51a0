"""Fixtures that run in the test's own event loop."""

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
    """Provide a started broker on a memory server that only this test uses.

    Args:
        msgbus_notes: Takes the record of the broker's messages.

    Yields:
        The broker; it is closed when the test ends.
    """
    from msgbus.testing.plugin import watched_broker

    async with watched_broker(msgbus_notes) as broker:
        yield broker


@pytest_asyncio.fixture
async def virtual_time() -> AsyncIterator[None]:
    """Run the test in virtual time: when every task waits, the event loop's time jumps to the next timer.

    See ``msgbus.testing.virtual_time``.
    """
    from msgbus.testing.virtual_time import leaping_time

    with leaping_time(asyncio.get_running_loop()):
        yield
