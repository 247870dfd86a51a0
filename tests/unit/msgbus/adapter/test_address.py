"""Grammar of queue and group names."""

from __future__ import annotations

from typing import Any

import pytest

from msgbus.adapter.address import Address, group_name, queue_address, queue_name
from msgbus.errors import InvalidName, queue_not_found


@pytest.mark.parametrize("good", ["a", "A9", "shop.purchases", "a_b-c.d", "0", "a" * 120, "x.dlqs", "retry.5s.x"])
def test_names_within_the_grammar_are_taken_as_they_are(good: str) -> None:
    assert queue_name(good) == good


@pytest.mark.parametrize(
    "bad", ["", ".a", "-a", "a b", "a/b", "ü", "a\n", "a" * 121, "amq.x", "q.dlq", "q.retry.10m", None, 7]
)
def test_names_outside_it_are_refused(bad: str) -> None:
    with pytest.raises(InvalidName):
        queue_name(bad)


def test_an_exchange_is_a_prefix() -> None:
    assert queue_name("purchases", "shop") == "shop.purchases"
    with pytest.raises(InvalidName, match="exchange"):
        queue_name("purchases", "sh.op")
    with pytest.raises(InvalidName, match="121"):
        queue_name("q" * 116, "shop")


def test_groups_have_no_dots_and_at_most_sixty_characters() -> None:
    assert group_name("g" * 60) == "g" * 60
    for bad in ("", "a.b", "g" * 61):
        with pytest.raises(InvalidName, match="group"):
            group_name(bad)


def test_addresses_compare_by_their_parts_and_read_as_names() -> None:
    assert Address("q") == Address("q")
    assert hash(Address("q", "g", "dlq")) == hash(Address("q", "g", "dlq"))
    assert Address("q") != Address("q", "g", "dlq")
    assert [str(Address("q")), str(Address("q", "g", "retry.5s"))] == ["q", "q.g.retry.5s"]


@pytest.mark.parametrize("wrong", ["", "a b", 5, None, ["orders"], b"orders"])
def test_an_address_of_a_wrong_name_is_refused_every_time(wrong: Any) -> None:
    for _ in range(2):
        with pytest.raises(InvalidName):
            queue_address(wrong)
    assert queue_address("orders", "shop") == queue_address("orders", "shop") == Address("shop.orders")


def test_an_address_says_which_kind_of_queue_it_is() -> None:
    queue, tier, letters = Address("q"), Address("q", "g", "retry.5s"), Address("q", "g", "dlq")
    assert [one.is_retry_queue for one in (queue, tier, letters)] == [False, True, False]
    assert [one.is_dead_letter_queue for one in (queue, tier, letters)] == [False, False, True]


def test_a_missing_queue_is_told_by_its_name() -> None:
    assert str(queue_not_found(Address("q", "g", "dlq"))) == "queue q.g.dlq does not exist; create_queue() makes it"
