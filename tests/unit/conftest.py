"""Profile of hypothesis for all unit tests, and sleeps that take no time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Awaitable

# How fast an example is made or tried says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds of each ``asyncio.sleep()``, which takes a turn of the event loop instead."""
    sleeps = list[float]()
    sleep = asyncio.sleep

    def recorded(seconds: float) -> Awaitable[None]:
        sleeps.append(seconds)
        return sleep(0)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    return sleeps
