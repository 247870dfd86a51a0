"""Positions in the log of a memory queue, and reading between two of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.errors import ConfigurationError
from msgbus_memory.history import MemoryHistoryReader, resolve_position, warn_of_removed
from msgbus_memory.server import Queue

ADDRESS = Address("orders")


def queue_of(count: int, *, trimmed: int = 0) -> Queue:
    """Messages ``0`` to ``count - 1``, published at seconds of the same numbers; the first ``trimmed`` are gone."""
    queue = Queue(retention=1000.0)
    messages = [Outgoing(ADDRESS, str(number), number * 1000, b"x", f"k{number}", {}) for number in range(count)]
    queue.append(messages, 0.0)
    queue.remove({queue.at(place) for place in range(trimmed)})
    return queue


@pytest.mark.parametrize(
    ("position", "place"),
    [
        ("oldest", 2),
        ("newest", 5),
        ("3", 3),
        ("0", 2),
        ("99", 5),
        (datetime.fromtimestamp(3, UTC), 3),
        (datetime.fromtimestamp(3.5, UTC), 4),
        (datetime.fromtimestamp(99, UTC), 5),
    ],
)
def test_a_position_is_a_place_that_is_still_kept(position: str | datetime, place: int) -> None:
    assert resolve_position(queue_of(5, trimmed=2), ADDRESS, position) == place


@pytest.mark.parametrize("wrong", ["yesterday", "-1", "orders-0@1"])
def test_a_text_that_is_no_position_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"queue orders: .*oldest"):
        resolve_position(queue_of(1), ADDRESS, wrong)


async def test_a_reader_reads_page_by_page_up_to_its_end() -> None:
    reader = MemoryHistoryReader(queue_of(5), ADDRESS, "g", 1, 4)
    pages = [await reader.read(2) for _ in range(3)]
    assert [[one.message.id for one in page] for page in pages] == [["1", "2"], ["3"], []]
    first = pages[0][0]
    assert (first.message.origin, first.message.key, first.position) == ("1", "k1", 1)
    await reader.close()


async def test_a_reader_skips_what_was_trimmed_since_it_was_opened_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = queue_of(5)
    reader = MemoryHistoryReader(queue, ADDRESS, "g", 0, 5)
    queue.remove({queue.at(place) for place in range(3)})
    assert [one.message.id for one in await reader.read(10)] == ["3", "4"]
    assert "3 messages were removed before they were read" in caplog.text


@pytest.mark.parametrize("position", ["0", "1", datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(1, UTC)])
def test_what_is_not_kept_any_more_is_told(position: str | datetime, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_removed(queue_of(5, trimmed=2), ADDRESS, position)
    assert "queue orders: " in caplog.text
    assert "not kept any more" in caplog.text


@pytest.mark.parametrize("position", ["oldest", "newest", "2", "99", datetime.fromtimestamp(1.5, UTC)])
def test_what_is_kept_from_there_on_needs_no_warning(
    position: str | datetime, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_removed(queue_of(5, trimmed=2), ADDRESS, position)
    assert not caplog.text


def test_a_position_may_be_that_of_a_message_that_only_the_group_has() -> None:
    queue = queue_of(5)
    alone = [queue.at(0), queue.at(1)]
    queue.drop_before(3)
    assert resolve_position(queue, ADDRESS, "oldest", alone) == 0
    assert resolve_position(queue, ADDRESS, "1", alone) == 1
    assert resolve_position(queue, ADDRESS, "2", alone) == 3
    assert resolve_position(queue, ADDRESS, datetime.fromtimestamp(1, UTC), alone) == 1
