"""Watermark: the position up to which everything is acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msgbus.adapter.watermark import Watermark


def test_it_moves_only_over_what_is_contiguous() -> None:
    mark = Watermark(10)
    for position in (10, 11, 12):
        mark.started(position)
    assert not mark.finished(11)
    assert mark.position == 10
    assert mark.finished(10)
    assert mark.position == 12
    assert mark.lowest == 12
    assert mark.finished(12)
    assert mark.position == 13
    assert mark.lowest is None


def test_gaps_between_positions_do_not_stall_it() -> None:
    mark = Watermark(0)
    for position in (5, 9):
        mark.started(position)
    assert mark.finished(5)
    assert mark.position == 6
    assert mark.finished(9)
    assert mark.position == 10


def test_finishing_what_was_never_handed_out_or_twice_changes_nothing() -> None:
    mark = Watermark(3)
    assert not mark.finished(3)
    mark.started(3)
    assert mark.finished(3)
    assert not mark.finished(3)
    assert mark.position == 4
    assert len(mark) == 0


@given(st.sets(st.integers(0, 200), min_size=1), st.randoms())
def test_it_is_always_the_lowest_unfinished_position(positions: set[int], chance: object) -> None:
    mark = Watermark(min(positions))
    for position in sorted(positions):
        mark.started(position)
    left = sorted(positions)
    order = sorted(positions, key=lambda _: chance.random())  # type: ignore[attr-defined]  # hypothesis's own Random
    for position in order:
        mark.finished(position)
        left.remove(position)
        assert mark.lowest == (left[0] if left else None)
        assert all(one >= mark.position for one in left)
    assert mark.position == max(positions) + 1
