"""Backoff and the retry policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msgbus.retry import Backoff, Done, RetryPolicy, TryAgain


def test_waits_double_up_to_the_most() -> None:
    backoff = Backoff(first=1.0, most=30.0)
    assert [round(backoff.wait(n, 1.0)) for n in (1, 2, 3, 4, 5, 6, 100000)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_half_and_all_of_its_step(failures: int, chance: float) -> None:
    full = min(0.1 * 2.0 ** min(failures - 1, 60), 30.0)
    assert full / 2 <= Backoff(first=0.1, most=30.0).wait(failures, chance) <= full


def test_a_callback_that_returned_is_done() -> None:
    assert RetryPolicy().decide(0, 0.5) == Done()


def test_a_callback_that_raised_is_tried_again_later_and_later() -> None:
    outcomes = [RetryPolicy().decide(n, 0.5) for n in (1, 2, 3, 50)]
    waits = [outcome.after for outcome in outcomes if isinstance(outcome, TryAgain)]
    assert len(waits) == 4
    assert waits == sorted(waits)
    assert waits[-1] <= 30.0
