"""Contract cases, collected from the modules of their subjects."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from msgbus.testing.cases.consuming import (
    dynamic_subscriptions,
    groups,
    lifecycle,
    load_sharing,
    membership,
    ordering,
    sessions,
    shutdown,
)
from msgbus.testing.cases.failures import dead_letters, delayed_delivery, outages, retries, retry_exhaustion
from msgbus.testing.cases.faults import (
    access_errors,
    clock_skew,
    crash,
    recorded_runs,
    refused_queues,
    third_party_clients,
)
from msgbus.testing.cases.operations import health, replay
from msgbus.testing.cases.publishing import message_identity, payload, queues

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
    message_identity,
    groups,
    replay,
    load_sharing,
    ordering,
    health,
    retries,
    delayed_delivery,
    retry_exhaustion,
    outages,
    clock_skew,
    dead_letters,
    dynamic_subscriptions,
    membership,
    sessions,
    lifecycle,
    shutdown,
    crash,
    third_party_clients,
    recorded_runs,
    access_errors,
    refused_queues,
)

CASES: list[Case] = [case for module in _SUBJECTS for case in _cases(module)]

contract = pytest.mark.parametrize("case", [pytest.param(case, id=case.__name__) for case in CASES])
"""Mark that runs a test once for each case."""
