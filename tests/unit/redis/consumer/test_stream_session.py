"""A session of the Redis adapter decides by itself what is handed out, what is owned, and when to claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msgbus.adapter.address import Address, queue_address
from msgbus_redis.consumer.stream_session import SCAN_START_ID, StreamSession

if TYPE_CHECKING:
    from collections.abc import Sequence

VISIBILITY = 10.0
FIELDS = (b"id", b"x", b"time", b"1", b"body", b"b")


def entries(*numbers: int) -> list[Sequence[object]]:
    return [(b"%d-0" % number, FIELDS) for number in numbers]


@pytest.fixture
def session() -> StreamSession:
    return StreamSession(queue_address("q"), "g", "msgbus", VISIBILITY)


def receipts(session: StreamSession, now: float, most: int = 100) -> list[bytes]:
    return [one.receipt for one in session.hand_out(most, now)]


def test_entries_are_handed_out_in_order_and_are_in_flight_then(session: StreamSession) -> None:
    session.add_new(entries(1, 2, 3), 10, 0.0)
    assert receipts(session, 1.0, 2) == [b"1-0", b"2-0"]
    assert (session.holds(b"1-0"), session.holds(b"3-0"), session.buffered) == (True, False, True)


def test_a_stream_is_backlogged_while_reads_come_back_full(session: StreamSession) -> None:
    session.add_new(entries(1, 2), 2, 0.0)
    assert session.backlogged
    session.add_new(entries(3), 2, 0.0)
    assert not session.backlogged


def test_what_was_buffered_for_half_of_the_visibility_time_is_not_handed_out(session: StreamSession) -> None:
    session.add_new(entries(1), 10, 0.0)
    assert (receipts(session, VISIBILITY / 2), session.buffered) == ([], False)


def test_a_claim_brings_nothing_that_is_buffered_in_flight_or_acknowledged_during_the_read(
    session: StreamSession,
) -> None:
    session.add_new(entries(1, 2), 10, 0.0)
    session.hand_out(1, 0.0)
    session.begin_read()
    session.forget([b"3-0"])
    assert session.add_claimed(SCAN_START_ID, [*entries(1, 2, 3, 4), None, (b"5-0", None)], 0.0) == 1
    assert [one.message.redelivered for one in session.hand_out(9, 0.0)] == [False, True]
    session.begin_read()
    assert session.add_claimed(SCAN_START_ID, entries(3), 0.0) == 1


def test_the_first_claim_is_due_at_once_and_the_next_when_it_was_set(session: StreamSession) -> None:
    assert session.claim_due(0.0)
    session.begin_claim(5.0)
    session.add_claimed(SCAN_START_ID, (), 0.0)
    assert (session.claim_due(4.0), session.claim_due(5.0), session.seconds_until_claim(2.0)) == (False, True, 3.0)


def test_a_scan_that_has_not_ended_goes_on_at_the_next_read(session: StreamSession) -> None:
    session.begin_claim(5.0)
    session.add_claimed(b"7-0", (), 0.0)
    assert (session.claim_due(0.0), session.cursor) == (True, b"7-0")


def test_a_handover_during_a_scan_begins_it_again(session: StreamSession) -> None:
    session.begin_claim(5.0)
    session.claim_now()
    session.add_claimed(b"7-0", (), 0.0)
    assert (session.claim_due(0.0), session.cursor) == (True, SCAN_START_ID)


def test_an_entry_is_certainly_owned_for_half_of_the_visibility_time_after_it_was_extended(
    session: StreamSession,
) -> None:
    session.add_new(entries(1), 10, 0.0)
    session.hand_out(1, 0.0)
    assert (session.certainly_owned(b"1-0", 4.9), session.certainly_owned(b"1-0", 5.0)) == (True, False)
    session.extend([b"1-0", b"2-0"], 5.0)
    assert (session.certainly_owned(b"1-0", 9.9), session.holds(b"2-0")) == (True, False)


def test_nothing_is_owned_when_the_session_has_ended(session: StreamSession) -> None:
    session.add_new(entries(1, 2), 10, 0.0)
    session.hand_out(1, 0.0)
    session.end()
    assert (session.over, session.holds(b"1-0"), session.buffered, receipts(session, 0.0)) == (True, False, False, [])


@pytest.mark.parametrize(
    ("address", "private"),
    [(Address("q"), False), (Address("q", "g", "retry.5s"), True), (Address("q", "h", "retry.5s"), False)],
)
def test_a_retry_queue_is_private_to_its_group(address: Address, private: bool) -> None:
    assert StreamSession(address, "g", "msgbus", VISIBILITY).private is private
