"""Partition sessions: what is delivered, what is committed, and what ends with the session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from msgbus.adapter.address import Address
from msgbus_kafka.consumer.partition_session import (
    MAX_BUFFERED_BYTES,
    MAX_BUFFERED_RECORDS,
    MAX_UNCOMMITTED_OFFSETS,
    PartitionSession,
    PartitionSessions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

A, B = Address("a"), Address("b")


class Partition(NamedTuple):
    topic: str
    partition: int


def records(offsets: Iterable[int], size: int = 1) -> list[Any]:
    return [
        SimpleNamespace(
            topic="a",
            partition=0,
            offset=offset,
            timestamp=0,
            key=None,
            value=b"x",
            headers=(),
            serialized_key_size=-1,
            serialized_value_size=size,
        )
        for offset in offsets
    ]


def session(limit: int = 10) -> PartitionSession:
    return PartitionSession(Partition("a", 0), A, limit)


def positions(deliveries: Iterable[Any]) -> list[int]:
    return [delivery.position for delivery in deliveries]


def test_nothing_the_limit_above_the_lowest_unacknowledged_is_handed_out() -> None:
    one = session(limit=3)
    one.buffer(records(range(100, 120)))
    assert positions(one.take(50, "g")) == [100, 101, 102]
    one.finished(101)
    one.finished(102)
    assert one.take(50, "g") == []
    one.finished(100)
    assert positions(one.take(50, "g")) == [103, 104, 105]


def test_the_distance_counts_offsets_and_not_messages() -> None:
    one = session(limit=10)
    one.buffer(records([5, 14, 15]))
    assert positions(one.take(50, "g")) == [5, 14]


def test_gaps_are_no_obstacle_to_committing() -> None:
    one = session()
    one.buffer(records([7, 9, 12]))
    one.take(3, "g")
    assert not one.finished(9)
    assert not one.dirty
    assert one.finished(7)
    assert (one.dirty, one.position) == (True, 10)
    one.committed(10)
    assert not one.dirty


def test_a_commit_that_was_overtaken_leaves_it_dirty() -> None:
    one = session()
    one.buffer(records([0, 1]))
    one.take(2, "g")
    one.finished(0)
    one.finished(1)
    one.committed(1)
    assert one.dirty


def test_a_stopped_session_hands_out_nothing_and_still_takes_acknowledgements() -> None:
    one = session()
    one.buffer(records(range(5)))
    one.take(2, "g")
    one.stop()
    assert one.take(5, "g") == []
    assert one.finished(0)
    assert one.position == 1


def test_nothing_counts_after_the_end() -> None:
    one = session()
    one.buffer(records(range(5)))
    one.take(2, "g")
    one.end()
    assert not one.finished(0)
    assert not one.dirty


def test_a_full_session_is_not_hungry() -> None:
    many, large = session(), session()
    many.buffer(records(range(MAX_BUFFERED_RECORDS)))
    large.buffer(records(range(2), size=MAX_BUFFERED_BYTES))
    assert not many.wants_more
    assert not large.wants_more
    large.take(2, "g")
    assert large.wants_more


def test_partitions_of_a_queue_take_turns() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 100})
    for number in range(3):
        sessions.begin(Partition("a", number), A)
    sessions.buffer({Partition("a", number): records(range(100)) for number in range(3)})
    first = sessions.take({A: 9})
    assert sorted(positions(first)) == sorted([0, 1, 2] * 3)


def test_one_partition_gets_all_the_room_when_the_others_are_empty() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 100})
    for number in range(3):
        sessions.begin(Partition("a", number), A)
    sessions.buffer({Partition("a", 1): records(range(100))})
    assert positions(sessions.take({A: 9})) == list(range(9))


def test_a_queue_without_room_gets_nothing_and_holds_up_no_other() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 10, B: 10})
    sessions.begin(Partition("a", 0), A)
    sessions.begin(Partition("b", 0), B)
    sessions.buffer({Partition("a", 0): records(range(5)), Partition("b", 0): records(range(5))})
    assert {delivery.address for delivery in sessions.take({B: 5})} == {B}


def test_records_of_a_partition_without_a_session_are_dropped() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 10})
    old = sessions.begin(Partition("a", 0), A)
    sessions.end([old])
    assert not sessions.buffer({Partition("a", 0): records(range(5))})
    assert sessions.take({A: 10}) == []


def test_ending_an_old_session_leaves_a_new_one_of_its_partition_alone() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 10})
    old = sessions.begin(Partition("a", 0), A)
    sessions.end([old])
    new = sessions.begin(Partition("a", 0), A)
    sessions.end([old])
    assert sessions.all() == [new]


def test_a_new_limit_holds_for_sessions_that_run() -> None:
    sessions = PartitionSessions("g")
    sessions.limit({A: 2})
    sessions.begin(Partition("a", 0), A)
    sessions.buffer({Partition("a", 0): records(range(9))})
    assert positions(sessions.take({A: 9})) == [0, 1]
    sessions.limit({A: 5})
    assert positions(sessions.take({A: 9})) == [2, 3, 4]


def test_what_was_handed_out_since_the_last_commit_is_bounded() -> None:
    one = session(limit=MAX_UNCOMMITTED_OFFSETS + 100)
    one.buffer(records(range(7, MAX_UNCOMMITTED_OFFSETS + 200)))
    taken = one.take(MAX_UNCOMMITTED_OFFSETS + 200, "g")
    assert len(taken) == MAX_UNCOMMITTED_OFFSETS
    for delivery in taken:
        one.finished(delivery.position or 0)
    assert one.take(10, "g") == []
    one.committed(100)
    assert positions(one.take(200, "g")) == list(range(MAX_UNCOMMITTED_OFFSETS + 7, MAX_UNCOMMITTED_OFFSETS + 100))
    one.committed(MAX_UNCOMMITTED_OFFSETS + 7)
    assert positions(one.take(1, "g")) == [MAX_UNCOMMITTED_OFFSETS + 100]


def test_a_gap_after_all_is_committed_is_no_obstacle() -> None:
    one = session()
    one.buffer(records([1, 5 * MAX_UNCOMMITTED_OFFSETS]))
    one.take(1, "g")
    one.finished(1)
    assert one.take(1, "g") == []
    one.committed(2)
    assert positions(one.take(1, "g")) == [5 * MAX_UNCOMMITTED_OFFSETS]
