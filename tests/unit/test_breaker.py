"""When a subscription pauses and goes on."""

from __future__ import annotations

from msgbus.breaker import Breaker
from msgbus.retry import Backoff


def test_it_opens_after_so_many_failures_in_a_row_and_a_success_between_begins_anew() -> None:
    breaker = Breaker(3, Backoff(1, 30))
    assert [breaker.failed(), breaker.failed(), breaker.succeeded(), breaker.failed()] == [False] * 4
    assert [breaker.failed(), breaker.failed(), breaker.open] == [False, True, True]
    assert [breaker.failed(), breaker.open] == [False, True]


def test_the_first_success_closes_it_and_probes_come_less_and_less_often() -> None:
    breaker = Breaker(1, Backoff(1, 30))
    assert breaker.failed()
    assert [breaker.next_probe(1.0) for _ in range(6)] == [1, 2, 4, 8, 16, 30]
    assert breaker.succeeded()
    assert not breaker.open
    breaker.failed()
    assert breaker.next_probe(1.0) == 1


def test_none_never_opens_it() -> None:
    breaker = Breaker(None, Backoff(1, 30))
    assert not any(breaker.failed() for _ in range(1000))
