"""The cases, collected by subject."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.cases import (
    clocks,
    closing,
    delays,
    dynamics,
    faults,
    giving_up,
    groups,
    handling,
    health,
    history,
    judged,
    letters,
    lifecycle,
    membership,
    outages,
    outside,
    payload,
    queues,
    refusals,
    retries,
    sameness,
    sessions,
    sharing,
)

if TYPE_CHECKING:
    from types import ModuleType

    from msgbus.testing.harness import Harness

__all__ = ["CASES", "contract"]

Case = Callable[["Harness"], Awaitable[None]]


def _cases(module: ModuleType) -> list[Case]:
    own = (one for one in vars(module).values() if inspect.iscoroutinefunction(one))
    return [one for one in own if one.__module__ == module.__name__ and not one.__name__.startswith("_")]


_SUBJECTS = (
    queues,
    payload,
    sameness,
    groups,
    history,
    sharing,
    handling,
    health,
    retries,
    delays,
    giving_up,
    outages,
    clocks,
    letters,
    dynamics,
    membership,
    sessions,
    lifecycle,
    closing,
    faults,
    outside,
    judged,
    refusals,
)

CASES: list[Case] = [case for module in _SUBJECTS for case in _cases(module)]

contract = pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in CASES])
"""Runs a test once for each case."""
