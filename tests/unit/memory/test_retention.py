"""Retention by size: what goes first, and what never goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgbus import ConfigurationError, connect
from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus_memory.retention import RetentionBudget, evict, memory_bytes
from msgbus_memory.server import Queue, server

if TYPE_CHECKING:
    from msgbus import Message

ORDERS = Address("orders")
SIZE = memory_bytes(Outgoing(ORDERS, "0", 0, b"x" * 1000, None, {}))


def filled(queue: Queue, count: int, *, at: float = 0.0, body: bytes = b"x" * 1000) -> Queue:
    for number in range(count):
        queue.append([Outgoing(ORDERS, str(queue.end), queue.end, body, None, {})], at + number)
    return queue


def budget_of(messages: int) -> RetentionBudget:
    """A budget that goes down to so many messages."""
    budget = RetentionBudget(0)
    budget.limit = messages * SIZE + budget._step
    return budget


def handle(queue: Queue, count: int, *, name: str = "g") -> None:
    group = queue.group(name)
    for entry in group.take("member", count):
        group.acknowledge(entry, "member")


def test_the_oldest_handled_messages_go_whichever_queue_they_are_in() -> None:
    early, late = filled(Queue(3600.0), 100, at=0.0), filled(Queue(3600.0), 100, at=50.5)
    for queue in (early, late):
        handle(queue, 100)
    evict([late, early], budget_of(60))
    assert early.first == pytest.approx(95, abs=3)
    assert late.first == pytest.approx(45, abs=3), "50 s younger"
    assert early.handled_bytes + late.handled_bytes == pytest.approx(60 * SIZE, rel=0.05)


def test_what_a_group_was_not_handed_stays_whatever_its_size() -> None:
    queue = filled(Queue(3600.0), 100)
    queue.group("slow")
    handle(queue, 100, name="fast")
    handle(queue, 30, name="slow")
    evict([queue], budget_of(0))
    assert (queue.first, queue.groups["slow"].lag) == (30, 70)
    assert [entry.outgoing.id for entry in queue.groups["slow"].take("member", 100)] == [str(n) for n in range(30, 100)]


def test_what_is_in_flight_stays_with_its_group_when_the_log_moves_on() -> None:
    queue = filled(Queue(3600.0), 100)
    group = queue.group("g")
    stuck, *others = group.take("member", 100)
    for entry in others:
        group.acknowledge(entry, "member")
    evict([queue], budget_of(0))
    assert queue.first >= 99, "one message that is never finished holds back nothing"
    group.give_back("member")
    assert group.take("next", 10) == [stuck]
    assert stuck in group.seen


def test_what_is_in_flight_does_not_count_as_handled() -> None:
    queue = filled(Queue(3600.0), 100)
    handle(queue, 50)
    queue.group("g").take("member", 50)
    assert queue.handled_bytes == 50 * SIZE
    evict([queue], budget_of(50))
    assert queue.first == 0


def test_messages_of_a_queue_without_groups_count_as_handled() -> None:
    budget = budget_of(10)
    queue = filled(Queue(3600.0, budget), 100)
    assert budget.unchecked == 100 * SIZE
    evict([queue], budget)
    assert queue.first == pytest.approx(90, abs=3)
    assert queue.group("late").lag == queue.end - queue.first


def test_dead_letters_are_never_removed_by_retention() -> None:
    queue = filled(Queue(0.5, for_dead_letters=True), 100)
    evict([queue], budget_of(0))
    filled(queue, 1, at=1e6)
    assert len(queue.dead_letters()) == 101


def test_a_large_message_is_removed_alone() -> None:
    queue = filled(filled(Queue(3600.0), 1, body=b"x" * 2**20), 20)
    handle(queue, 21)
    evict([queue], budget_of(40))
    assert queue.first == 1


def test_memory_is_counted_with_key_and_headers() -> None:
    bare = memory_bytes(Outgoing(ORDERS, "1", 0, b"", None, {"content-type": "x"}))
    keyed = memory_bytes(Outgoing(ORDERS, "1", 0, b"", "k" * 100, {"content-type": "x"}))
    traced = memory_bytes(Outgoing(ORDERS, "1", 0, b"", None, {"content-type": "x", "trace": "t" * 4000}))
    assert keyed >= bare + 100
    assert traced >= bare + 4000


def test_a_server_looks_when_an_eighth_of_the_budget_was_handled_and_not_when_it_was_handed_out() -> None:
    budget = RetentionBudget(8 * 2**20)
    queue = Queue(3600.0, budget)
    queue.group("g")
    filled(queue, 3000)
    group = queue.group("g")
    entries = group.take("member", 3000)
    assert not budget.is_due, "nothing was handled"
    for entry in entries[:500]:
        group.acknowledge(entry, "member")
    assert not budget.is_due
    for entry in entries[500:]:
        group.acknowledge(entry, "member")
    assert budget.is_due


async def test_what_was_in_flight_together_goes_when_it_is_handled() -> None:
    """A thousand messages may be in flight at once, and nothing may come after them."""
    handled = asyncio.Event()

    async def last(message: Message) -> None:
        if message.id == "399":
            handled.set()

    async with connect("memory://large?retention_bytes=4000000", group="g") as broker:
        await broker.create_queue("q", groups=["g"])
        for number in range(400):
            await broker.publish("q", b"x" * 100_000, message_id=str(number), key="k")
        await broker.consume("q", last)
        async with asyncio.timeout(10):
            await handled.wait()
    queue = server("large").find(Address("q"))
    assert queue.end - queue.first <= 40


def test_a_rewind_keeps_what_only_the_group_still_has() -> None:
    queue = filled(Queue(3600.0), 10)
    group = queue.group("g")
    held = group.take("member", 10)
    for entry in held[3:]:
        group.acknowledge(entry, "member")
    queue.drop_before(10)
    group.give_back("member")
    filled(queue, 2)
    group.rewind(1)
    assert [entry.place for entry in group.take("next", 10)] == [1, 2, 10, 11]


def test_retention_by_time_holds_back_for_nothing_in_flight() -> None:
    queue = Queue(10.0)
    queue.group("g")
    filled(queue, 1)
    held = queue.group("g").take("member", 1)
    filled(queue, 20, at=1.0)
    handle(queue, 20)
    filled(queue, 1, at=100.0)
    assert queue.first == 21
    queue.group("g").give_back("member")
    assert queue.group("g").take("next", 1) == held


async def test_a_server_has_the_limit_of_its_first_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with connect("memory://small?retention_bytes=200000", group="g") as broker:
        for number in range(2000):
            await broker.create_queue(f"queue-{number % 3}")
            await broker.publish(f"queue-{number % 3}", b"x" * 1000)
        kept = sum([(await broker.lag(f"queue-{number}")).total for number in range(3)])
        assert 0 < kept < 200
        async with connect("memory://small", group="g"):
            assert "retention_bytes is 200000" in caplog.text


@pytest.mark.parametrize("wrong", ["-1", "64MB", "1.5"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="retention_bytes"):
        connect(f"memory://?retention_bytes={wrong}")
