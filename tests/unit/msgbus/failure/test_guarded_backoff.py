"""Wait strategies of a service: bounds, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import decimal
import logging
import math
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity.wait import (
    wait_base,
    wait_chain,
    wait_exception,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_none,
)

from msgbus.backoff import Backoff
from msgbus.failure.guarded_backoff import GuardedBackoff

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from msgbus.backoff import WaitStrategy

FALLBACK = Backoff(0.1, 30.0)
MOST = 600.0


def guarded(strategy: Any) -> GuardedBackoff:
    return GuardedBackoff(strategy, FALLBACK, MOST, "queue q, group g: RetryPolicy(backoff=…)")


def seconds(strategy: Any, failures: int = 1, error: BaseException | None = None) -> float:
    return guarded(strategy).seconds(failures, 0.5, error or KeyError("x"), 3.0)


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        (Backoff(1, 30), [0.75, 1.5, 3.0]),
        (wait_none(), [0, 0, 0]),
        (wait_fixed(2), [2, 2, 2]),
        (wait_exponential(), [1, 2, 4]),
        (wait_chain(wait_fixed(1), wait_fixed(5)), [1, 5, 5]),
        (Backoff(1, 30) + wait_fixed(10), [10.75, 11.5, 13.0]),
        (lambda state: state.attempt_number, [1, 2, 3]),
        (lambda state: state.seconds_since_start, [3, 3, 3]),
        (lambda _: decimal.Decimal("1.5"), [1.5, 1.5, 1.5]),
    ],
)
def test_a_strategy_decides(strategy: WaitStrategy, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    assert [seconds(strategy, n) for n in (1, 2, 3)] == waits
    assert not caplog.records


def test_a_strategy_sees_the_error() -> None:
    class Busy(Exception):
        retry_after = 17.0

    strategy = wait_exception(lambda error: getattr(error, "retry_after", 1.0))
    assert [seconds(strategy, error=one) for one in (Busy(), KeyError())] == [17.0, 1.0]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (wait_exponential(), MOST),  # 4.6e18: its default maximum
        (wait_exponential_jitter(), MOST),
        (Backoff(1, 1e9), MOST),
        (lambda _: math.inf, MOST),
        (lambda _: 10**400, MOST),
        (lambda _: -1.0, 0),
        (lambda _: -math.inf, 0),
        (lambda _: -0.0, 0),
    ],
)
def test_waits_have_bounds(strategy: WaitStrategy, expected: float, caplog: pytest.LogCaptureFixture) -> None:
    assert seconds(strategy, 1000) == expected
    assert not caplog.records


class Hostile:
    """A result that cannot even be printed."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


class Unprintable(Exception):
    def __str__(self) -> str:
        return "no words"


async def later() -> float:
    return 1.0


def returning(it: object) -> Any:
    return lambda _: it


def raising(error: BaseException) -> WaitStrategy:
    def strategy(_: RetryCallState) -> float:
        raise error

    return strategy


@pytest.mark.parametrize(
    "strategy",
    [
        *map(returning, (math.nan, "1", None, True, 1j, [], timedelta(seconds=1), Hostile())),
        lambda _: later(),
        *map(
            raising, (ZeroDivisionError(), Unprintable(), asyncio.CancelledError(), RecursionError(), StopIteration())
        ),
    ],
)
def test_a_strategy_that_fails_is_replaced_and_reported_once(strategy: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="msgbus")
    one = guarded(strategy)
    assert [one.seconds(n, 0.5, KeyError(), 0.0) for n in (1, 2, 3)] == [FALLBACK.wait(n, 0.5) for n in (1, 2, 3)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
    text = caplog.messages[0]
    assert text.startswith("queue q, group g: RetryPolicy(backoff=…): the wait strategy ")
    assert "failed: " in text
    assert text.endswith("msgbus waits by Backoff(first=0.1, most=30.0) instead")
    assert " at 0x" not in text


def test_a_strategy_that_recovers_is_used_again() -> None:
    results: list[Any] = [1.0, "nonsense", 2.0]
    one = guarded(lambda _: results.pop(0))
    assert [one.seconds(1, 0.5, KeyError(), 0.0) for _ in range(3)] == [1.0, FALLBACK.wait(1, 0.5), 2.0]


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_the_end_of_the_process_is_not_swallowed(ending: type[BaseException]) -> None:
    with pytest.raises(ending):
        seconds(raising(ending()))


def test_a_subclass_of_backoff_is_called_as_it_is() -> None:
    class Mine(Backoff):
        def __call__(self, retry_state: RetryCallState) -> float:
            return 41.0 + retry_state.attempt_number

    assert seconds(Mine(1, 2)) == 42.0


def test_strategies_are_named_without_addresses(caplog: pytest.LogCaptureFixture) -> None:
    class Mine(wait_base):
        def __call__(self, retry_state: RetryCallState) -> float:
            raise ZeroDivisionError(retry_state)

    seconds(Mine())
    assert f"{__name__}.test_strategies_are_named_without_addresses.<locals>.Mine failed" in caplog.text


@given(st.floats(), st.integers(1, sys.maxsize), st.floats(0, 1, exclude_max=True))
def test_whatever_a_strategy_returns_a_wait_is_within_its_bounds(returned: float, failures: int, chance: float) -> None:
    assert 0 <= guarded(lambda _: returned).seconds(failures, chance, KeyError(), 0.0) <= MOST
