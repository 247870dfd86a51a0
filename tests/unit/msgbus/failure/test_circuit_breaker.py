"""The circuit breaker: each rule, then a model of hours."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from msgbus.failure.circuit_breaker import CircuitBreaker, Phase, Verdict, parking_delay
from msgbus.retry import DEFAULT_PROBE_BACKOFF, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_700_000_000.0
CONCURRENCY = 10
COUNTED, FREE, OPENED, EXHAUSTED = Verdict.COUNTED, Verdict.FREE, Verdict.OPENED, Verdict.EXHAUSTED


def breaker(after: int | None = 3, patience: float = 600.0) -> CircuitBreaker:
    return CircuitBreaker(after, patience)


def fail(  # noqa: PLR0913 - record_failure()'s arguments
    one: CircuitBreaker, id: str, now: float, *, first: float | None = None, free: int = 0, probe: bool = False
) -> Verdict:
    since = now if first is None else first
    return one.record_failure(id, first_failure=since, failing_since=since, free_tries=free, probe=probe, now=now)


def opened(after: int = 3, patience: float = 600.0) -> CircuitBreaker:
    one = breaker(after, patience)
    for n in range(after):
        fail(one, str(n), NOW)
    assert one.is_open
    return one


def test_it_opens_when_so_many_different_messages_have_failed_and_the_last_of_them_is_free() -> None:
    one = breaker()
    assert [fail(one, id, NOW) for id in ("a", "a", "b", "a", "c")] == [COUNTED] * 4 + [OPENED]
    assert fail(one, "d", NOW) is FREE


def test_a_success_between_begins_anew() -> None:
    one = breaker()
    assert [fail(one, id, NOW) for id in "ab"] == [COUNTED] * 2
    assert not one.record_success(NOW + 1)
    assert [fail(one, id, NOW + 2) for id in "cde"] == [COUNTED, COUNTED, OPENED]


def test_what_failed_before_another_message_succeeded_is_its_own_fault_and_never_opens_it() -> None:
    one = breaker()
    one.record_success(NOW + 1)
    assert [fail(one, str(n), NOW + 2, first=NOW) for n in range(100)] == [COUNTED] * 100
    assert one.failing == {}


def test_none_never_opens_it() -> None:
    one = breaker(None)
    assert {fail(one, str(n), NOW) for n in range(1000)} == {COUNTED}


def test_a_success_closes_it() -> None:
    one = opened()
    assert one.record_success(NOW + 1)
    assert one.phase is Phase.CLOSED
    assert not one.record_success(NOW + 2)


def test_in_the_first_minute_fresh_messages_are_tried_every_second_and_later_half_of_each_less_often() -> None:
    one = opened()
    assert one.plan_probe(10, NOW + 59) == (10, 0, 1.0, 0)
    later = [one.plan_probe(9, NOW + 60) for _ in range(4)]
    assert later == [(5, 4, 540.0, slow) for slow in (1, 2, 3, 4)]
    assert [DEFAULT_PROBE_BACKOFF.longest(slow) for slow in (1, 2, 3, 4)] == [4.0, 8.0, 16.0, 25.0]


def test_a_probe_without_a_failure_of_outage_kind_closes_it_and_one_without_any_end_does_not() -> None:
    one = opened()
    assert one.plan_probe(1, NOW + 1) is not None
    assert one.plan_probe(1, NOW + 2) is not None, "nothing was there to try"
    one.record_other_failure(probe=False)
    assert one.plan_probe(1, NOW + 3) is not None, "a retry that was due is no probe"
    one.record_other_failure(probe=True)
    fail(one, "x", NOW + 3, probe=True)
    assert one.plan_probe(1, NOW + 4) is not None, "one of two failed so"
    one.record_other_failure(probe=True)
    assert one.plan_probe(1, NOW + 5) is None
    assert one.phase is Phase.CLOSED


def test_opening_again_within_a_minute_takes_twice_as_many_each_time_and_sixteen_times_at_most() -> None:
    one, now, took = breaker(2), NOW, list[int]()
    for _ in range(6):
        failures = 0
        while not one.is_open:
            failures += 1
            fail(one, str(failures), now)
        took.append(failures)
        now += 30
        one.record_success(now)
        now += 1
    assert took == [2, 4, 8, 16, 32, 32]
    now += 60
    assert [fail(one, id, now) for id in "ab"] == [COUNTED, OPENED]


def test_when_patience_is_over_failures_count_until_the_next_success() -> None:
    one = opened(patience=100)
    assert fail(one, "a", NOW + 99, first=NOW) is FREE
    assert fail(one, "a", NOW + 100, first=NOW) is EXHAUSTED
    assert not one.is_open
    assert {fail(one, str(n), NOW + 101) for n in range(100)} == {EXHAUSTED}
    one.record_success(NOW + 200)
    assert [fail(one, id, NOW + 201) for id in "abc"] == [COUNTED, COUNTED, OPENED]


def test_a_probe_is_never_later_than_the_end_of_patience_and_ends_it() -> None:
    one = opened(patience=100)
    probe = one.plan_probe(1, NOW + 99)
    assert probe is not None
    assert probe.wait == 1.0
    assert one.plan_probe(1, NOW + 100) is None
    assert one.phase is Phase.EXHAUSTED


def test_what_was_free_in_another_member_is_free_here_and_patience_runs_on() -> None:
    one = breaker(patience=100)
    assert fail(one, "a", NOW, first=NOW - 50, free=7) is FREE
    assert not one.is_open
    assert fail(one, "a", NOW + 50, first=NOW - 50, free=8) is EXHAUSTED


def test_a_first_failure_by_a_clock_that_is_ahead_is_now() -> None:
    one = breaker(patience=100)
    fail(one, "a", NOW, first=NOW + 3600)
    assert one.failing_since == NOW


def test_a_message_is_parked_for_half_of_what_it_has_waited_and_half_a_minute_at_most() -> None:
    assert [parking_delay(n) for n in (-1, 0, 9.9, 10, 59, 60, 1e9)] == [1, 1, 1, 5, 5, 30, 30]


# The model: a subscription of one member in virtual time, as the shell wires it, without a broker.


@dataclass(order=True)
class Copy:
    due: float
    id: str = field(compare=False)
    attempt: int = field(default=1, compare=False)
    free: int = field(default=0, compare=False)
    first: float | None = field(default=None, compare=False)


class Model:
    """Messages in a queue and in retry queues; callbacks take no time; a second is one turn."""

    def __init__(self, count: int, fails: Callable[[str, float], bool]) -> None:
        self.policy = RetryPolicy()
        self.breaker = CircuitBreaker(self.policy.pause_after, self.policy.patience_seconds)
        self.now = NOW
        self.fresh = [Copy(NOW, str(n)) for n in range(count)]
        self.fresh.reverse()
        self.waiting: list[Copy] = []
        self.handled: dict[str, float] = {}
        self.dead: dict[str, float] = {}
        self.tries = 0
        self._fails = fails
        self._random = Random(1)
        self._probe_at = NOW

    @property
    def left(self) -> int:
        return len(self.fresh) + len(self.waiting)

    def run(self, seconds: float) -> Model:
        end = self.now + seconds
        while self.left and self.now < end:
            if self.breaker.is_open:
                if self.now >= self._probe_at:
                    self._probe()
            else:
                self._flow()
            self.now += 1
        return self

    def _flow(self) -> None:
        while self.fresh and not self.breaker.is_open:
            self._try(self.fresh.pop())
        while self.waiting and self.waiting[0].due <= self.now and not self.breaker.is_open:
            self._try(heapq.heappop(self.waiting))
        self._probe_at = self.now + 1

    def _probe(self) -> None:
        plan, chance = self.breaker.plan_probe(CONCURRENCY, self.now), self._random.random()
        if plan is None:
            return
        slow = DEFAULT_PROBE_BACKOFF.wait(plan.slow, chance) if plan.slow else plan.wait
        self._probe_at = self.now + min(slow, plan.wait)
        left = plan.fresh + plan.parked
        for _ in range(min(plan.fresh, len(self.fresh))):
            left -= 1
            self._try(self.fresh.pop(), probe=True)
        while left and self.waiting and self.waiting[0].due <= self.now:
            left -= 1
            self._try(heapq.heappop(self.waiting), probe=True)

    def _try(self, copy: Copy, *, probe: bool = False) -> None:
        self.tries += 1
        if not self._fails(copy.id, self.now - NOW):
            self.handled[copy.id] = self.now - NOW
            self.breaker.record_success(self.now)
            return
        copy.first = copy.first or self.now
        verdict = self.breaker.record_failure(
            copy.id,
            first_failure=copy.first,
            failing_since=copy.first,
            free_tries=copy.free,
            probe=probe and self.breaker.is_open,
            now=self.now,
        )
        if verdict in {FREE, OPENED}:
            copy.free += 1
            copy.due = self.now + parking_delay(self.now - copy.first)
        else:
            if verdict is EXHAUSTED:
                copy.attempt, copy.free = copy.attempt + copy.free, 0
            retries = copy.attempt - self.policy.immediate
            if retries > len(self.policy.delays):
                self.dead[copy.id] = self.now - NOW
                return
            copy.due = self.now + (self.policy.delays[retries - 1] if retries > 0 else 1)
            copy.attempt += 1
        heapq.heappush(self.waiting, copy)


@pytest.mark.parametrize("count", [12, 2000])
def test_in_the_model_an_outage_of_an_hour_dead_letters_nothing_and_all_is_handled_a_minute_later(count: int) -> None:
    model = Model(count, lambda _id, at: at < 3600).run(7200)
    assert model.dead == {}
    assert len(model.handled) == count
    assert max(model.handled.values()) <= 3660
    assert model.tries < 6000, "the downstream that is off has some rest"


def test_in_the_model_bad_messages_in_front_of_good_ones_are_through_within_half_a_minute() -> None:
    model = Model(1200, lambda name, _at: int(name) < 200).run(3600)
    assert len(model.handled) == 1000
    assert min(model.handled.values()) <= 30
    assert max(model.handled.values()) < min(model.dead.values())
    assert len(model.dead) == 200


def test_in_the_model_messages_that_fail_for_ever_are_dead_letters_when_patience_is_over() -> None:
    patience = RetryPolicy().patience_seconds
    model = Model(12, lambda _id, _at: True).run(4 * patience)
    assert len(model.dead) == 12
    assert max(model.dead.values()) <= patience + 31, "31: a message that was parked just before, in turns of a second"


def test_in_the_model_a_downstream_that_fails_now_and_then_ends_every_message() -> None:
    random = Random(7)
    model = Model(3000, lambda _id, _at: random.random() < 0.5).run(7200)
    assert len(model.handled) + len(model.dead) == 3000
    assert len(model.dead) < 60, "half to the seventh, and less by what is free"
