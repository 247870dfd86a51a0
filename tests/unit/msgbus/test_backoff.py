"""Backoff as a wait strategy of tenacity, and what is refused as one."""

from __future__ import annotations

import copy
import functools
import math
import pickle
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tenacity import RetryCallState, Retrying, stop_after_attempt
from tenacity.wait import (
    wait_base,
    wait_chain,
    wait_combine,
    wait_exponential_jitter,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
)

from msgbus.backoff import Backoff, FailedTry, SeededBackoff, check_strategy
from msgbus.errors import ConfigurationError
from msgbus.retry import RetryPolicy

if TYPE_CHECKING:
    from msgbus.backoff import WaitStrategy


def failed(strategy: WaitStrategy, failures: int = 1, chance: float = 0.5) -> FailedTry:
    return FailedTry(strategy, failures, chance, KeyError("x"), 7.0)


def test_waits_double_up_to_the_most() -> None:
    backoff = Backoff(first=1.0, most=30.0)
    assert [backoff.longest(n) for n in (1, 2, 3, 4, 5, 6, 100000)] == [1, 2, 4, 8, 16, 30, 30]
    assert [round(backoff.wait(n, 1.0)) for n in (1, 2, 3, 4, 5, 6, 100000)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_half_and_all_of_its_step(failures: int, chance: float) -> None:
    full = min(0.1 * 2.0 ** min(failures - 1, 60), 30.0)
    assert full / 2 <= Backoff(first=0.1, most=30.0).wait(failures, chance) <= full


def test_it_draws_the_chance_of_the_failed_try_also_as_a_part_of_other_strategies() -> None:
    backoff = Backoff(first=1.0, most=30.0)
    assert backoff(failed(backoff, 3, 0.25)) == backoff.wait(3, 0.25)
    combined = backoff + wait_fixed(10)
    assert combined(failed(combined, 2, 0.25)) == backoff.wait(2, 0.25) + 10
    chain = wait_chain(wait_fixed(1), backoff)
    assert [chain(failed(chain, n, 0.25)) for n in (1, 2, 3)] == [1, backoff.wait(2, 0.25), backoff.wait(3, 0.25)]


def test_it_serves_in_loops_of_tenacity_that_know_nothing_of_msgbus() -> None:
    slept = list[float]()
    retrying = Retrying(wait=Backoff(1.0, 4.0), stop=stop_after_attempt(4), sleep=slept.append, reraise=True)
    with pytest.raises(ZeroDivisionError):
        retrying(lambda: 1 / 0)
    assert all(full / 2 <= seconds <= full for full, seconds in zip((1, 2, 4), slept, strict=True))


def test_a_seed_gives_the_same_waits() -> None:
    def waits() -> list[float]:
        seeded = SeededBackoff(Backoff(0.1, 30.0), random.Random(7))
        return [seeded(failed(seeded, n)) for n in range(1, 6)]

    assert waits() == waits()


def test_a_strategy_is_told_what_is_known_of_the_failure() -> None:
    strategy = wait_none()
    state = failed(strategy, 4)
    assert (state.attempt_number, state.seconds_since_start, state.retry_object.wait) == (4, 7.0, strategy)
    assert state.outcome is not None
    assert repr(state.outcome.exception()) == "KeyError('x')"
    assert "KeyError" in repr(state)


def test_time_since_the_first_failure_is_never_negative() -> None:
    assert FailedTry(wait_none(), 1, 0.5, KeyError(), -5.0).seconds_since_start == 0


def test_backoffs_and_policies_are_values() -> None:
    for value in (Backoff(1, 2), RetryPolicy(), RetryPolicy(backoff=Backoff(1, 2))):
        assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)  # noqa: S301 - our own
        assert hash(value) == hash(copy.deepcopy(value))
    assert repr(RetryPolicy(backoff=Backoff(1, 2))).startswith(
        "RetryPolicy(immediate=2, backoff=Backoff(first=1, most=2)"
    )
    strategy = wait_exponential_jitter(max=3)
    loaded = pickle.loads(pickle.dumps(RetryPolicy(backoff=strategy))).backoff  # noqa: S301 - our own
    assert loaded.max == 3
    assert RetryPolicy(backoff=strategy) == RetryPolicy(backoff=strategy)


@pytest.mark.parametrize(
    ("first", "most"), [(-1, 1), (1, -1), (math.nan, 1), (1, math.nan), (math.inf, 1), (1, math.inf)]
)
def test_seconds_that_make_no_sense_are_refused(first: float, most: float) -> None:
    with pytest.raises(ConfigurationError, match=r"Backoff\(.*numbers of seconds from 0"):
        Backoff(first, most)


class Mine(wait_base):
    def __call__(self, retry_state: RetryCallState) -> float:
        return float(retry_state.attempt_number)


class Asynchronous:
    async def __call__(self, retry_state: RetryCallState) -> float:
        return float(retry_state.attempt_number)


async def asynchronous(retry_state: RetryCallState) -> float:
    return float(retry_state.attempt_number)


def two(one: object, other: object) -> float:
    return float(one is other)


@pytest.mark.parametrize(
    "strategy",
    [
        Backoff(0, 0),
        wait_none(),
        wait_fixed(timedelta(seconds=2)),
        wait_random(0, 2),
        wait_incrementing(1, 1),
        wait_exponential_jitter(),
        wait_chain(wait_fixed(1), Backoff(1, 2)),
        wait_combine(wait_fixed(1), lambda _: 2),
        wait_fixed(1) + Backoff(1, 2),
        Mine(),
        lambda _: 1,
        lambda *states: float(len(states)),
        functools.partial(two, 1),
        math.floor,
    ],
)
def test_what_tenacity_takes_is_taken(strategy: Any) -> None:
    check_strategy(strategy, "x")
    policy = RetryPolicy(backoff=strategy, probe_backoff=strategy)
    assert policy.backoff is policy.probe_backoff is strategy


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (None, "cannot be called"),
        (5, "cannot be called"),
        ("1s", "cannot be called"),
        (wait_none, "wait_none is a class"),
        (Backoff, "Backoff is a class"),
        (asynchronous, "is async"),
        (Asynchronous(), "is async"),
        (two, "does not take one argument"),
        (lambda: 1, "does not take one argument"),
        (wait_fixed(-3), "it waits -3 s"),
        (wait_fixed(math.nan), "it waits nan s"),
        (wait_random(-5, math.inf), "it waits -5, inf s"),
        (wait_chain(wait_fixed(1), wait_fixed(-2)), "it waits -2 s"),
        (wait_combine(Backoff(1, 2), asynchronous), "is async"),  # type: ignore[arg-type]  # the mistake meant
        (wait_chain(wait_combine(wait_none)), "wait_none is a class"),  # type: ignore[arg-type]  # the mistake meant
    ],
)
@pytest.mark.parametrize("name", ["backoff", "probe_backoff"])
def test_what_can_be_known_to_be_none_is_refused_where_the_policy_is_made(name: str, strategy: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryPolicy: {name} must be .*{why}"):
        RetryPolicy(**{name: strategy})


def test_a_strategy_that_contains_itself_is_looked_at_once() -> None:
    chain = wait_chain(wait_none())
    chain.strategies = (chain, wait_none())
    check_strategy(chain, "x")


def test_a_policy_is_a_part_of_settings_with_its_backoffs_in_them_or_as_strategies() -> None:
    policies = TypeAdapter(RetryPolicy)
    read = policies.validate_json('{"immediate": 3, "backoff": {"first": 1, "most": 2}}')
    assert read == RetryPolicy(immediate=3, backoff=Backoff(1, 2))
    strategy = wait_fixed(1)
    assert policies.validate_python({"probe_backoff": strategy}).probe_backoff is strategy
    with pytest.raises((ConfigurationError, ValidationError)):
        policies.validate_python({"backoff": {"first": -1, "most": 2}})
    assert "backoff" in get_type_hints(RetryPolicy)


def test_no_strategy_is_called_where_the_policy_is_made() -> None:
    RetryPolicy(backoff=lambda _: 1 / 0)
