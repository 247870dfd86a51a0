"""Flow control: how many messages of a queue a member holds."""

from __future__ import annotations

from msgbus.in_flight.flow_control import MAX_LIMIT, FlowController


def full(flow: FlowController) -> None:
    flow.in_flight = flow.limit


def test_it_begins_at_twice_the_concurrency() -> None:
    assert FlowController(10).limit == 20


def quick(flow: FlowController) -> None:
    """As many quick callbacks as the limit allows."""
    for _ in range(flow.limit):
        flow.record_duration(0.0001)


def test_quick_callbacks_raise_it_in_steps_up_to_a_thousand() -> None:
    flow = FlowController(1)
    limits = []
    for _ in range(5):
        quick(flow)
        full(flow)
        flow.adapt(0.0)
        limits.append(flow.limit)
    assert limits == [16, 128, 1000, MAX_LIMIT, MAX_LIMIT]


def test_what_is_worked_off_in_no_time_was_as_good_as_full() -> None:
    flow = FlowController(10)
    quick(flow)
    assert flow.adapt(0.01)
    assert flow.limit == 160
    assert not flow.adapt(0.01)
    quick(flow)
    assert flow.adapt(0.02)


def test_what_comes_slowly_needs_no_larger_hands() -> None:
    flow = FlowController(10)
    for turn in range(1, 10):
        quick(flow)
        assert not flow.adapt(turn * 0.1)
    assert flow.limit == 20


def test_slow_callbacks_leave_it_where_it_is() -> None:
    flow = FlowController(10)
    for _ in range(200):
        flow.record_duration(1.0)
    full(flow)
    assert not flow.adapt(0.0)
    assert flow.limit == 20


def test_a_callback_that_became_slow_brings_it_down_again() -> None:
    flow = FlowController(10)
    for _ in range(200):
        flow.record_duration(0.0001)
    for _ in range(8):
        full(flow)
        flow.adapt(0.0)
    for _ in range(200):
        flow.record_duration(1.0)
    for _ in range(10):
        flow.adapt(0.0)
    assert flow.limit == 20


def test_room_again_is_said_once_when_half_is_free() -> None:
    flow = FlowController(2)
    full(flow)
    assert flow.demand() == 0
    assert [flow.release(1) for _ in range(4)] == [False, True, False, False]


def test_it_widens_for_good_when_what_is_held_may_not_run() -> None:
    flow = FlowController(2)
    assert flow.grow()
    assert flow.limit == 8
    for _ in range(200):
        flow.record_duration(1.0)
    flow.adapt(0.0)
    assert flow.limit == 8
