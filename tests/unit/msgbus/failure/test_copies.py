"""Copies of messages that failed or are not due."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing, build_message
from msgbus.failure.copies import (
    Failure,
    dead_letter_copy,
    due_at,
    failure_headers,
    free_try_headers,
    initial_delay,
    redriven_copy,
    remaining_delay,
    retry_copy,
    time_in_tier,
)
from msgbus.failure.retry_queues import TIER_DELAY_SECONDS

if TYPE_CHECKING:
    from msgbus.message import Message

NOW = 1_700_000_000.0


def message(headers: dict[str, str] | None = None) -> Message:
    return build_message(Address("q"), "g", b"\x00body", headers or {}, id="m", time=5_000, key="k", origin="q-0@17")


def arrived(outgoing: Outgoing) -> Message:
    """As it comes back from the server."""
    return build_message(
        outgoing.address,
        "g",
        outgoing.body,
        outgoing.headers,
        id=outgoing.id,
        time=outgoing.time,
        key=outgoing.key,
        origin="elsewhere",
    )


def waited(delay: float, skew: float = 0.0) -> tuple[float, int]:
    """How long a message with ``delay`` waits in all, by true time, where members' clocks differ by ``skew``."""
    now, hops = NOW, 0
    copy = retry_copy(message(), delay, now)
    while True:
        hops += 1
        there = arrived(copy)
        now += time_in_tier(copy.address, there, now + skew)
        if (left := remaining_delay(there)) <= 0:
            return now - NOW, hops
        copy = retry_copy(there, left, now + skew)


@given(st.floats(0.001, 90_000))
def test_a_delay_is_kept_whatever_steps_it_takes(delay: float) -> None:
    total, hops = waited(delay)
    assert delay - 0.002 * hops <= total <= delay + 0.002 * hops


@given(st.floats(0.001, 7_000), st.sampled_from([-3600.0, -5.0, 5.0, 3600.0]))
def test_a_clock_that_is_off_costs_one_step_at_most(delay: float, skew: float) -> None:
    total, hops = waited(delay, skew)
    longest = max(seconds for seconds in TIER_DELAY_SECONDS.values() if seconds <= max(delay, 1.0))
    assert abs(total - delay) <= longest + 1.0 + 0.002 * hops


@given(st.floats(0.001, 7_000), st.lists(st.sampled_from([-3600.0, -5.0, 0.0, 5.0, 3600.0]), min_size=30))
def test_hands_whose_clocks_differ_cost_their_difference_at_most_and_no_more_than_the_steps_they_meet_in(
    delay: float, clocks: list[float]
) -> None:
    now, owed = NOW, 0.0
    hands = iter(clocks)
    sender = next(hands)
    copy = retry_copy(message(), delay, now + sender)
    for holder in hands:
        there = arrived(copy)
        owed += min(abs(holder - sender), TIER_DELAY_SECONDS[copy.address.part] + 1.0) + 0.002
        now += time_in_tier(copy.address, there, now + holder)
        if (left := remaining_delay(there)) <= 0:
            break
        sender, copy = holder, retry_copy(there, left, now + holder)
    assert abs(now - NOW - delay) <= owed


@given(st.floats(0.001, 7_000), st.sampled_from([-3600.0, -5.0, 0.0, 5.0, 3600.0]), st.floats(0, 7_000))
def test_a_delay_of_a_publisher_is_early_by_the_clocks_at_most_and_late_by_what_it_lay_in_the_queue(
    delay: float, ahead: float, lay: float
) -> None:
    published = NOW + ahead
    headers = {"msgbus-not-before": str(math.ceil((published + delay) * 1000))}
    fresh = build_message(Address("q"), "g", b"", headers, id="m", time=int(published * 1000))
    error = initial_delay(fresh, NOW + lay) - (delay - lay)
    assert min(ahead, 0.0) - 0.002 <= error <= min(max(ahead, 0.0), lay) + 0.004


def test_a_copy_has_body_key_id_time_and_headers_as_they_were_and_ours_do_not_grow() -> None:
    first = message({"h": "v", "content-type": "text/x"})
    one = arrived(retry_copy(first, 5, NOW, failure_headers(first, Failure(ValueError("x"), NOW, NOW))))
    two = arrived(retry_copy(one, 5, NOW + 9, failure_headers(one, Failure(KeyError("y"), NOW + 9, NOW + 9))))
    for copy in (one, two):
        assert (copy.body, copy.key, copy.id, copy.published_at) == (first.body, "k", "m", first.published_at)
        assert (copy.headers, copy.content_type) == ({"h": "v"}, "text/x")
    assert one.system.keys() == two.system.keys()
    assert (two.system["msgbus-first-failure"], two.system["msgbus-last-failure"]) == (
        str(round(NOW * 1000)),
        str(round((NOW + 9) * 1000)),
    )
    assert two.system["msgbus-origin-position"] == "q-0@17"
    assert (one.attempt, two.attempt) == (2, 3)


def test_what_a_dead_letter_says_is_bounded() -> None:
    error = ValueError("ü" * 10_000 + "\ud800")
    letter = dead_letter_copy(message(), Failure(error, NOW, NOW), "r" * 5000, "id", with_traceback=True)
    assert str(letter.address) == "q.g.dlq"
    assert len(letter.headers["msgbus-error-message"].encode()) <= 1024
    assert len(letter.headers["msgbus-error-traceback"].encode()) <= 4096
    assert len(letter.headers["msgbus-reason"]) == 1024
    assert (
        "msgbus-error-traceback"
        not in dead_letter_copy(message(), Failure(error, NOW, NOW), "r", "id", with_traceback=False).headers
    )


def test_a_redrive_begins_anew_is_due_at_once_and_counted() -> None:
    letter = arrived(
        dead_letter_copy(message({"h": "v"}), Failure(ValueError("x"), NOW, NOW), "r", "id", with_traceback=True)
    )
    again = arrived(redriven_copy(letter, NOW))
    assert (again.attempt, again.headers, again.key) == (1, {"h": "v"}, "k")
    assert (due_at(again), again.system["msgbus-redrives"]) == (NOW, "1")
    assert again.system.keys() == {"msgbus-not-before", "msgbus-hop", "msgbus-redrives"}
    assert time_in_tier(Address("q", "g", "retry.1s"), again, NOW) == 0


def test_a_free_try_keeps_the_attempts_and_is_counted_in_a_header_of_its_own() -> None:
    failure = Failure(ConnectionError("x"), NOW, NOW - 7)
    once = arrived(retry_copy(message(), 1, NOW, free_try_headers(message(), failure, 1, 1.0)))
    assert (once.attempt, once.system["msgbus-free"]) == (1, "1")
    assert once.system["msgbus-first-failure"] == str(int((NOW - 7) * 1000))
    assert once.system["msgbus-failing"] == "8000"
    waits_on = arrived(retry_copy(once, 5, NOW))
    assert waits_on.system["msgbus-failing"] == "13000"
    assert waits_on.system["msgbus-free"] == "1", "a copy of what did not fail keeps it"
    counted = arrived(retry_copy(once, 5, NOW, failure_headers(once, failure)))
    assert counted.attempt == 2
    assert "msgbus-free" not in counted.system
