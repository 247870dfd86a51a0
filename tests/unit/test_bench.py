"""The pure parts of the benchmarks, and one run on memory."""

from __future__ import annotations

import pytest

from bench.compare import by_cell, middle, ratio
from bench.figure import Figure, Order
from bench.gates import Gate, Verdict, judge
from bench.meter import Meter
from bench.report import page
from bench.rounds import Made, run
from bench.work import SIZE, Tally, WorkError, item


def figure(rate: float) -> Figure:
    return Figure(messages=1000, elapsed=1000 / rate, client_cpu=0.5, server_cpu=0.1)


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
    assert "| redis | publish, awaiting each | raw | 1,000 | 0.95 | 50.00 | 10.00 |  |" in told
    assert "- pass: redis: publish, awaiting each: rate against raw ≥ 0.9 (seen 0.95)" in told
    assert "raw: it broke" in told


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
    for number in (2, 1):
        await tally.handle({"n": number, "key": "k", "at": 0.0})
    assert tally.disorder == 1


@pytest.mark.parametrize("case", ["one after another", "keyed"])
def test_a_figure_on_memory_is_a_process_that_does_all_its_work(case: str) -> None:
    assert run(Order("memory", "msgbus", case, "memory://", 200, [])).messages == 200
