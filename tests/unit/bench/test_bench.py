"""The pure parts of the benchmarks, and one run on memory."""

from __future__ import annotations

import json
from dataclasses import replace
from random import SystemRandom

import aio_pika
import aiormq
import pytest

import bench.measure
import msgbus.in_flight.key_scheduler
import msgbus_memory
from bench.cases import CASES
from bench.compare import by_cell, middle, ratio
from bench.contenders import MODULES
from bench.figure import Figure, Order
from bench.gates import GATES, Gate, Verdict, judge
from bench.meter import Meter
from bench.report import number, page
from bench.rounds import Made, run, turned
from bench.sampler import Sampler, owner
from bench.work import SIZE, Tally, WorkError, item
from msgbus.publishing.message_ids import MessageIds


def figure(value: float, unit: str = "msg/s", extra: dict[str, float] | None = None) -> Figure:
    elapsed = 1000 / value if unit == "msg/s" else 1.0
    return Figure(1000, elapsed, client_cpu=0.5, server_cpu=0.1, value=value, unit=unit, extra=extra or {})


def test_ratios_are_paired_by_round_and_a_round_that_one_lacks_does_not_count() -> None:
    ours = {0: figure(20), 1: figure(400), 2: figure(1)}
    theirs = {0: figure(10), 1: figure(100)}
    assert ratio(ours, theirs) == pytest.approx(3.0)
    assert ratio({}, theirs) is None
    assert middle([]) is None


@pytest.mark.parametrize(("seen", "most", "word"), [(1.0, False, "pass"), (0.9, False, "fail"), (1.1, True, "fail")])
def test_a_gate_holds_at_its_limit(seen: float, most: bool, word: str) -> None:
    assert Verdict(Gate("redis", "c", 1.0, most=most), seen).word == word


def test_a_gate_without_figures_is_not_measured_and_never_passed() -> None:
    made = [Made("redis", "publish, awaiting each", "msgbus", 0, figure(10))]
    assert {one.word for one in judge(by_cell(made))} == {"not measured"}


def test_the_page_has_figures_ratios_gates_and_what_failed() -> None:
    case = "publish, awaiting each"
    made = [
        Made("redis", case, "raw", 0, figure(1000)),
        Made("redis", case, "msgbus", 0, figure(950)),
        Made("redis", case, "raw", 1, None, "it broke"),
    ]
    told = page({"Python": "3.11"}, by_cell(made), judge(by_cell(made)), made)
    assert "| redis | publish, awaiting each | raw | 1,000 msg/s | 0.95 | 50.00 | 10.00 |  |" in told
    assert "- pass: redis: publish, awaiting each: rate against raw ≥ 0.9 (seen 0.95)" in told
    assert "raw: FAILED: it broke" in told


def test_what_is_no_rate_has_its_unit_in_the_page_and_no_cpu_for_each_message() -> None:
    made = [Made("redis", "latency at 200 a second", "msgbus", 0, figure(0.734, "ms (p50)", {"p99 ms": 12.34}))]
    told = page({}, by_cell(made), [], made)
    assert "| redis | latency at 200 a second | msgbus | 0.734 ms (p50) |  |  |  | p99 ms 12.3 |" in told


@pytest.mark.parametrize(
    ("value", "told"), [(1234.5, "1,234"), (99.94, "99.9"), (0.00123, "0.00123"), (-250.4, "-250")]
)
def test_a_number_has_three_digits_that_say_something(value: float, told: str) -> None:
    assert number(value) == told


def test_the_core_is_told_by_function_the_dearest_first_as_means_of_all_rounds() -> None:
    made = [
        Made(broker, "CPU by owner", "msgbus", number, replace(figure(3.0, "core µs a message"), profile=profile))
        for broker, number, profile in (
            ("memory", 0, {"lanes.take": 1.0}),
            ("memory", 1, {"lanes.take": 0.5, "ids.one": 2.0}),
            ("redis", 0, {"message.received": 4.0}),
        )
    ]
    told = page({}, by_cell(made), [], made)
    assert "| function | memory | redis |" in told
    rows = [line for line in told.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `message.received` | 0.00 | 4.00 |",
        "| `ids.one` | 1.00 | 0.00 |",
        "| `lanes.take` | 0.75 | 0.00 |",
    ]


def test_a_gate_is_about_the_value_by_its_unit_or_about_something_beside_it() -> None:
    steady = {"share of the ideal": 0.9}
    made = [
        Made("memory", "keyed", "msgbus", number, figure(cost, "µs a message"))
        for number, cost in enumerate((12, 14, 90))
    ] + [
        Made("redis", "a backlog of 1,000,000", "msgbus", 0, figure(60, "MB at the end", {"MB apart": 21.0})),
        Made(
            "redis", "consume, 10 ms, 1000 keys", "msgbus", 0, figure(9000, extra={**steady, "order violations": 0.0})
        ),
        Made(
            "redis", "consume, 10 ms, 1000 keys", "msgbus", 1, figure(9000, extra={**steady, "order violations": 1.0})
        ),
    ]
    seen = {str(one.gate): (one.word, one.seen) for one in judge(by_cell(made)) if one.seen is not None}
    assert seen == {
        "memory: keyed: µs a message ≤ 25": ("pass", 14),
        "redis: a backlog of 1,000,000: MB apart ≤ 20": ("fail", 21.0),
        "redis: consume, 10 ms, 1000 keys: share of the ideal ≥ 0.7": ("pass", 0.9),
        "redis: consume, 10 ms, 1000 keys: order violations ≤ 0": ("fail", 1.0),  # the worst, no median
    }


def test_each_gate_is_of_a_case_whose_contenders_are_measured_in_every_mode() -> None:
    for gate in GATES:
        for quick in (False, True):
            assert {"msgbus", gate.peer or "msgbus"} <= {*CASES[gate.case].contenders(gate.broker, quick=quick)}, gate
    assert len({str(gate) for gate in GATES}) == len(GATES)


def test_every_contender_of_a_case_has_a_class_and_enough_messages() -> None:
    for case in CASES.values():
        for broker in MODULES:
            for who in case.contenders(broker):
                assert who in MODULES[broker]
                assert case.count(broker, who, 1e-9) == case.least


def test_every_other_round_runs_backwards() -> None:
    orders = [Order("redis", who, "c", "redis://", 1, []) for who in ("a", "b")]
    assert [[one.contender for one in turned(number, orders)] for number in (0, 1)] == [["a", "b"], ["b", "a"]]


def test_a_sample_belongs_to_the_innermost_party() -> None:
    assert owner(json.__file__) is None
    assert owner(bench.measure.__file__) == "benchmark"
    assert owner(msgbus.in_flight.key_scheduler.__file__) == "core"
    assert owner(msgbus_memory.__file__) == "adapter"
    assert owner(aio_pika.__file__) == owner(aiormq.__file__) == "client"


def test_the_cpu_that_was_sampled_is_shared_out_completely() -> None:
    with Sampler() as sampler:
        while "benchmark" not in sampler.spent():  # the first sample may have met the loop around it
            item(1, 1)
    assert sum(sampler.spent().values()) == pytest.approx(sampler.cpu)


def test_what_the_core_spends_is_shared_out_among_its_functions() -> None:
    with Sampler() as sampler:
        while "message_ids.MessageIds.next_id" not in sampler.spent_in_core():
            MessageIds(SystemRandom()).next_id()
    assert sum(sampler.spent_in_core().values()) == pytest.approx(sampler.spent()["core"])


def test_every_body_has_the_same_size() -> None:
    assert {len(item(number, 1000).body) for number in (0, 7, 99_999)} == {SIZE}


async def test_a_message_that_is_missing_repeated_or_pending_voids_the_figure() -> None:
    tally = Tally(2, Meter([]))
    body = {"n": 1, "key": "k", "at": 0.0}
    await tally.handle(body)
    with pytest.raises(WorkError):
        tally.check(0)
    await tally.handle(body)
    with pytest.raises(WorkError):
        tally.check(0)
    assert tally.repeated == 1


async def test_a_key_out_of_order_is_seen() -> None:
    tally = Tally(2, Meter([]))
    for place in (2, 1):
        await tally.handle({"n": place, "key": "k", "at": 0.0})
    assert tally.disorder == 1


@pytest.mark.parametrize(("case", "messages"), [("there and back", 200), ("CPU by owner", 2000), ("import", 1)])
def test_a_figure_on_memory_is_a_process_that_does_all_its_work(case: str, messages: int) -> None:
    made = run(Order("memory", "msgbus", case, "memory://", messages, []))
    assert made.messages == messages
    assert not made.is_rate
