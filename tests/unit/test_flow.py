"""How much of a queue a member holds."""

from __future__ import annotations

from msgbus.flow import LIMIT_MAX, Flow


def full(flow: Flow) -> None:
    flow.held = flow.limit


def test_it_begins_at_twice_the_concurrency() -> None:
    assert Flow(10).limit == 20


def test_quick_callbacks_double_it_up_to_a_thousand() -> None:
    flow = Flow(10)
    for _ in range(200):
        flow.worked(0.0001)
    limits = []
    for _ in range(8):
        full(flow)
        flow.adapt()
        limits.append(flow.limit)
    assert limits[:3] == [40, 80, 160]
    assert limits[-1] == LIMIT_MAX


def test_slow_callbacks_leave_it_where_it_is() -> None:
    flow = Flow(10)
    for _ in range(200):
        flow.worked(1.0)
    full(flow)
    assert not flow.adapt()
    assert flow.limit == 20


def test_a_callback_that_became_slow_brings_it_down_again() -> None:
    flow = Flow(10)
    for _ in range(200):
        flow.worked(0.0001)
    for _ in range(8):
        full(flow)
        flow.adapt()
    for _ in range(200):
        flow.worked(1.0)
    for _ in range(10):
        flow.adapt()
    assert flow.limit == 20


def test_room_again_is_said_once_when_half_is_free() -> None:
    flow = Flow(2)
    full(flow)
    assert flow.asked() == 0
    assert [flow.released(1) for _ in range(4)] == [False, True, False, False]


def test_it_widens_for_good_when_what_is_held_may_not_run() -> None:
    flow = Flow(2)
    assert flow.widen()
    assert flow.limit == 8
    for _ in range(200):
        flow.worked(1.0)
    flow.adapt()
    assert flow.limit == 8
