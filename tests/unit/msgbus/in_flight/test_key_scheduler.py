"""Key scheduler: which message may run next."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from msgbus.in_flight.key_scheduler import KeyScheduler


@dataclass(eq=False)
class Item:
    ordering_key: str | None
    passed_over: bool = False


def test_items_of_one_lane_run_one_after_another() -> None:
    lanes: KeyScheduler[Item] = KeyScheduler(10)
    first, second = Item("a"), Item("a")
    lanes.add(first)
    lanes.add(second)
    assert lanes.next_item() is first
    assert lanes.next_item() is None
    lanes.finish(first)
    assert lanes.next_item() is second


def test_items_without_a_key_run_side_by_side_up_to_the_concurrency() -> None:
    lanes: KeyScheduler[Item] = KeyScheduler(2)
    items = [Item(None) for _ in range(3)]
    for item in items:
        lanes.add(item)
    assert [lanes.next_item(), lanes.next_item(), lanes.next_item()] == [items[0], items[1], None]
    lanes.finish(items[1])
    assert lanes.next_item() is items[2]


def test_a_parked_item_gives_its_place_free_and_keeps_its_lane() -> None:
    lanes: KeyScheduler[Item] = KeyScheduler(1)
    poisoned, behind, other = Item("a"), Item("a"), Item("b")
    for item in (poisoned, behind, other):
        lanes.add(item)
    assert lanes.next_item() is poisoned
    lanes.suspend()
    assert lanes.next_item() is other
    lanes.finish(other)
    assert lanes.next_item() is None
    assert lanes.blocked
    lanes.resume(poisoned)
    assert lanes.next_item() is poisoned
    lanes.finish(poisoned)
    assert lanes.next_item() is behind


def test_what_was_given_up_is_passed_over() -> None:
    lanes: KeyScheduler[Item] = KeyScheduler(1)
    items = [Item("a"), Item("a"), Item("a"), Item("b")]
    for item in items:
        lanes.add(item)
    assert lanes.next_item() is items[0]
    items[1].passed_over = items[3].passed_over = True
    lanes.finish(items[0])
    assert lanes.next_item() is items[2]
    lanes.finish(items[2])
    assert lanes.next_item() is None


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=40), st.integers(1, 4), st.randoms())
def test_order_and_bounds_hold_whatever_finishes_first(
    keys: list[str | None], concurrency: int, chance: object
) -> None:
    lanes: KeyScheduler[Item] = KeyScheduler(concurrency)
    items = [Item(key) for key in keys]
    for item in items:
        lanes.add(item)
    running: list[Item] = []
    started: list[Item] = []
    while True:
        while (taken := lanes.next_item()) is not None:
            running.append(taken)
            started.append(taken)
        assert len(running) <= concurrency
        keyed = [one.ordering_key for one in running if one.ordering_key is not None]
        assert len(keyed) == len(set(keyed))
        if not running:
            break
        running.sort(key=lambda _: chance.random())  # type: ignore[attr-defined]  # hypothesis's own Random
        lanes.finish(running.pop())
    for key in ("a", "b", "c"):
        assert [one for one in started if one.ordering_key == key] == [one for one in items if one.ordering_key == key]
    assert len(started) == len(items)
