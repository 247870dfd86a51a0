"""The cases, collected by subject."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.cases import (
    dynamics,
    faults,
    groups,
    handling,
    history,
    letters,
    lifecycle,
    payload,
    refusals,
    retries,
    sessions,
)

if TYPE_CHECKING:
    from types import ModuleType

    from msgbus.testing.harness import Harness

__all__ = ["CASES", "contract"]

Case = Callable[["Harness"], Awaitable[None]]


def _cases(module: ModuleType) -> list[Case]:
    own = (one for one in vars(module).values() if inspect.iscoroutinefunction(one))
    return [one for one in own if one.__module__ == module.__name__ and not one.__name__.startswith("_")]


CASES: list[Case] = [
    case
    for module in (
        payload,
        groups,
        history,
        handling,
        retries,
        letters,
        dynamics,
        lifecycle,
        sessions,
        faults,
        refusals,
    )
    for case in _cases(module)
]

contract = pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in CASES])
"""Runs a test once for each case."""
