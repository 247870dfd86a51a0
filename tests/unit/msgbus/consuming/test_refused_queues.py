"""When a refused queue is tried again, and what is news about it."""

from __future__ import annotations

from random import Random

from msgbus.adapter.address import Address
from msgbus.consuming.refused_queues import MISSING_QUEUE_CHECK_SECONDS, STABLE_AFTER_SECONDS, RefusedQueues
from msgbus.errors import AccessRefused, QueueConflict, QueueNotFound

QUEUE = Address("q")
NO_RIGHT = AccessRefused("no right")


def refused() -> RefusedQueues:
    return RefusedQueues(Random(1))


def waits(queues: RefusedQueues, count: int) -> list[float]:
    """The seconds before each of ``count`` tries that are all refused."""
    now, found = 0.0, list[float]()
    for _ in range(count):
        queues.refuse(QUEUE, NO_RIGHT, now)
        found.append(queues.next_try() - now)
        now = queues.next_try()
    return found


def test_the_tries_of_a_refused_queue_are_further_and_further_apart_up_to_half_a_minute() -> None:
    found = waits(refused(), 20)
    assert found[0] <= 0.1
    assert all(15 <= one <= 30 for one in found[10:])


def test_a_missing_queue_is_looked_for_at_even_intervals() -> None:
    queues = refused()
    for _ in range(5):
        queues.refuse(QUEUE, QueueNotFound("missing"), 100.0)
        assert queues.next_try() == 100.0 + MISSING_QUEUE_CHECK_SECONDS


def test_a_refused_queue_rests_until_its_next_try() -> None:
    queues = refused()
    assert not queues.resting(QUEUE, 0.0)
    queues.refuse(QUEUE, NO_RIGHT, 0.0)
    assert queues.resting(QUEUE, 0.01)
    assert not queues.resting(QUEUE, queues.next_try())
    assert queues.error(QUEUE) is NO_RIGHT


def test_a_refusal_is_news_once_and_again_for_another_reason() -> None:
    queues = refused()
    assert queues.refuse(QUEUE, NO_RIGHT, 0.0)
    assert not queues.refuse(QUEUE, AccessRefused("no right"), 1.0)
    assert queues.refuse(QUEUE, QueueConflict("another type"), 2.0)


def test_a_queue_that_is_refused_at_every_read_is_tried_less_and_less_and_told_once() -> None:
    queues = refused()
    news = []
    now = 0.0
    for _ in range(10):
        news.append(queues.refuse(QUEUE, NO_RIGHT, now))
        now = queues.next_try()
        queues.accept(QUEUE, now)
        assert queues.error(QUEUE) is None
    assert news == [True] + [False] * 9
    assert waits(queues, 1)[0] >= 15


def test_after_a_while_of_consuming_a_refusal_counts_as_the_first() -> None:
    queues = refused()
    waits(queues, 10)
    queues.accept(QUEUE, 0.0)
    assert queues.refuse(QUEUE, NO_RIGHT, STABLE_AFTER_SECONDS + 0.1)
    assert queues.next_try() <= STABLE_AFTER_SECONDS + 0.2


def test_accepting_says_why_the_queue_was_refused_once() -> None:
    queues = refused()
    assert queues.accept(QUEUE, 0.0) is None
    queues.refuse(QUEUE, NO_RIGHT, 0.0)
    assert queues.accept(QUEUE, 1.0) is NO_RIGHT
    assert queues.accept(QUEUE, 2.0) is None
    assert queues.next_try() == float("inf")


def test_a_change_makes_every_try_due() -> None:
    queues = refused()
    queues.refuse(QUEUE, QueueNotFound("missing"), 0.0)
    queues.retry_all(1.0)
    assert not queues.resting(QUEUE, 1.0)


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    queues = refused()
    queues.refuse(QUEUE, NO_RIGHT, 0.0)
    queues.keep([Address("other")])
    assert queues.error(QUEUE) is None
