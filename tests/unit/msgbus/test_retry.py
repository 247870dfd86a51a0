"""Retry policies, and the outcome of a message whose callback raised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import build_message
from msgbus.errors import ConfigurationError, InvalidPayload
from msgbus.outage_errors import network_failure
from msgbus.retry import GiveUp, Outcome, Reject, RetryImmediately, RetryLater, RetryPolicy, decide, is_outage

if TYPE_CHECKING:
    from msgbus.message import Message

NOW = 1_000_000.0


def message(attempt: int = 1, age: float = 0.0) -> Message:
    headers = {"msgbus-attempts": str(attempt - 1)}
    return build_message(Address("q"), "g", b"", headers, id="m", time=round((NOW - age) * 1000))


def outcome(error: BaseException, policy: RetryPolicy | None = None, attempt: int = 1, age: float = 0.0) -> Outcome:
    return decide(error, message(attempt, age), policy or RetryPolicy(), NOW)


def test_the_default_tries_in_place_then_after_each_delay_then_gives_up() -> None:
    outcomes = [outcome(ValueError(), attempt=n) for n in range(1, 9)]
    assert [type(one) for one in outcomes] == [RetryImmediately] * 2 + [RetryLater] * 4 + [GiveUp] * 2
    assert [one.after for one in outcomes if isinstance(one, RetryLater)] == [5, 30, 120, 600]
    assert outcomes[6] == GiveUp("failed 7 times")


@given(st.integers(0, 5), st.lists(st.floats(0.1, 9_000), max_size=6), st.integers(1, 50))
def test_every_policy_gives_up_after_one_try_and_all_its_others(
    in_place: int, delays: list[float], attempt: int
) -> None:
    policy = RetryPolicy(immediate=in_place, delays=tuple(delays))
    given_up = isinstance(outcome(ValueError(), policy, attempt), GiveUp)
    assert given_up == (attempt >= 1 + in_place + len(delays))


@pytest.mark.parametrize("wrap", ["itself", "cause", "group", "group in a group", "cause in a group"])
def test_the_callbacks_own_words_are_found_in_causes_and_groups(wrap: str) -> None:
    def wrapped(error: Exception) -> BaseException:
        outer = RuntimeError("outer")
        outer.__cause__ = error
        made: dict[str, BaseException] = {
            "itself": error,
            "cause": outer,
            "group": ExceptionGroup("g", [ValueError(), error]),
            "group in a group": ExceptionGroup("g", [ExceptionGroup("h", [error])]),
            "cause in a group": ExceptionGroup("g", [outer]),
        }
        return made[wrap]

    assert outcome(wrapped(Reject("no customer"))) == GiveUp("rejected: no customer")
    assert outcome(wrapped(RetryLater(7))) == RetryLater(7)
    assert outcome(wrapped(InvalidPayload("points: missing"))) == GiveUp("invalid payload: points: missing")
    assert outcome(wrapped(KeyError("k")), RetryPolicy(no_retry_for=(LookupError,))) == GiveUp(
        "never retried: KeyError"
    )
    own_words = (Reject("x"), RetryLater(1), KeyError("x"), FileNotFoundError("x"))
    assert [is_outage(wrapped(one), RetryPolicy()) for one in own_words] == [False] * 4
    assert is_outage(wrapped(ConnectionError()), RetryPolicy())
    assert not is_outage(wrapped(ConnectionError()), RetryPolicy(no_retry_for=(ConnectionError,)))


def test_a_rejection_because_of_a_broken_connection_is_a_rejection() -> None:
    error = Reject("no customer")
    error.__cause__ = ConnectionError()
    assert not is_outage(error, RetryPolicy())


def test_a_policy_says_by_types_or_by_a_function_what_an_outage_is() -> None:
    types = RetryPolicy(outage=(KeyError,))
    assert [is_outage(one, types) for one in (KeyError(), ConnectionError())] == [True, False]
    function = RetryPolicy(outage=lambda error: network_failure(error) or "down" in str(error))
    assert [is_outage(one, function) for one in (KeyError("down"), ConnectionError(), KeyError())] == [
        True,
        True,
        False,
    ]
    for nonsense in (KeyError, ConnectionError("x"), "ConnectionError", (1,)):
        with pytest.raises(ConfigurationError, match="outage must be"):
            RetryPolicy(outage=nonsense)  # type: ignore[arg-type]


def test_patience_is_ten_times_the_delays_and_a_minute_at_least() -> None:
    assert RetryPolicy().patience_seconds == 7550
    assert RetryPolicy(delays=()).patience_seconds == 60
    assert RetryPolicy(patience=5).patience_seconds == 5
    for nonsense in (-1.0, math.nan):
        with pytest.raises(ConfigurationError, match="patience"):
            RetryPolicy(patience=nonsense)


def test_the_latest_of_several_wishes_counts_and_a_rejection_is_stronger() -> None:
    assert outcome(ExceptionGroup("g", [RetryLater(1), RetryLater(9)])) == RetryLater(9)
    assert outcome(ExceptionGroup("g", [RetryLater(1), Reject("x")])) == GiveUp("rejected: x")


def test_what_is_too_old_is_not_tried_again_even_if_it_asks_for_it() -> None:
    policy = RetryPolicy(max_age=60)
    assert outcome(ValueError(), policy, age=61) == GiveUp("older than 60 s")
    assert outcome(RetryLater(5), policy, age=61) == GiveUp("older than 60 s")
    assert isinstance(outcome(ValueError(), policy, age=59), RetryImmediately)


def test_causes_that_go_round_in_a_circle_end() -> None:
    one, two = ValueError(), TypeError()
    one.__cause__, two.__cause__ = two, one
    assert isinstance(outcome(one), RetryImmediately)


@pytest.mark.parametrize(
    "wrong", [{"immediate": -1}, {"delays": (0.0,)}, {"delays": (float("nan"),)}, {"pause_after": 0}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="RetryPolicy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]  # the wrong values are the point
