"""Looking through a dead-letter queue, over a scripted exclusive reader: pages, the end marker and the lock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from msgbus.adapter.address import Address
from msgbus.errors import BrokerUnavailable, DeadLetterLockLost, MsgbusError, QueueNotFound
from msgbus_rabbitmq import dead_letters
from msgbus_rabbitmq.codec import END_MARKER
from msgbus_rabbitmq.dead_letters import RabbitDeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from msgbus.adapter.envelope import Outgoing

ADDRESS = Address("q", "g", "dlq")


class Reader:
    """Holds three dead letters, and waits for no server."""

    def __init__(self, connection: object, address: Address) -> None:
        del connection
        assert address == ADDRESS
        self.did: list[str] = []
        self.in_flight = 3
        self.removed: list[int] = []

    async def open(self) -> None:
        self.did.append("open")

    def expect_end_marker(self, marker: str) -> None:
        self.did.append(f"expect {marker}")

    async def expect_no_end_marker(self) -> None:
        self.did.append("expect none")

    async def ready(self) -> int:
        return 4

    async def read(self, place: int, most: int) -> list[tuple[int, Any]]:
        return [(at, at) for at in range(place, 3)][:most]

    async def remove(self, places: Collection[int]) -> None:
        self.removed += places

    async def close(self) -> None:
        self.did.append("close")


class Publisher:
    """Notes end markers and ends their publish with ``error``."""

    def __init__(self) -> None:
        self.markers: list[str] = []
        self.error: MsgbusError | None = None

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[MsgbusError | None]:
        assert timeout > 0
        self.markers += [one.headers[END_MARKER] for one in messages]
        return [self.error] * len(messages)


class Store:
    """A store over scripted parts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.readers: list[Reader] = []
        self.publisher = Publisher()
        self.closed: list[object] = []
        self.connection = SimpleNamespace(is_up=True, close=self._close)
        monkeypatch.setattr(dead_letters, "ExclusiveReader", self._reader)
        monkeypatch.setattr(dead_letters, "decode_dead_letter", lambda _, delivered: f"message {delivered}")
        self.store = RabbitDeadLetterStore(
            cast("Any", self.connection), cast("Any", self.publisher), ADDRESS, self.closed.append
        )

    def _reader(self, connection: object, address: Address) -> Reader:
        self.readers.append(Reader(connection, address))
        return self.readers[-1]

    async def _close(self) -> None:
        self.closed.append("connection")


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


async def test_letters_are_read_page_by_page_and_the_last_page_has_no_cursor(bench: Store) -> None:
    page, cursor = await bench.store.look(None, 2)
    assert ([one.receipt for one in page], cursor) == ([0, 1], 2)
    page, cursor = await bench.store.take(cursor, 2)
    assert ([one.receipt for one in page], cursor) == ([2], None)
    (reader,) = bench.readers
    assert reader.did == ["open", f"expect {bench.publisher.markers[0]}"]


async def test_each_walk_has_an_end_marker_of_its_own(bench: Store) -> None:
    for _ in range(2):
        await bench.store.look(None, 10)
    assert len(bench.readers) == 1
    assert len(set(bench.publisher.markers)) == 2


async def test_a_full_queue_that_refuses_the_end_marker_is_read_without_one(bench: Store) -> None:
    bench.publisher.error = BrokerUnavailable("full")
    await bench.store.look(None, 10)
    assert bench.readers[0].did[-1] == "expect none"


@pytest.mark.parametrize("uncertain", [True, False])
async def test_an_end_marker_that_is_lost_with_the_connection_is_an_error(bench: Store, uncertain: bool) -> None:
    bench.publisher.error = BrokerUnavailable("cut", uncertain=uncertain)
    bench.connection.is_up = uncertain
    with pytest.raises(BrokerUnavailable, match="cut"):
        await bench.store.look(None, 10)


async def test_a_queue_that_is_gone_is_an_error(bench: Store) -> None:
    bench.publisher.error = QueueNotFound("gone")
    with pytest.raises(QueueNotFound):
        await bench.store.look(None, 10)


async def test_without_the_lock_nothing_goes_on_and_nothing_is_removed(bench: Store) -> None:
    with pytest.raises(DeadLetterLockLost):
        await bench.store.look(3, 10)
    with pytest.raises(DeadLetterLockLost):
        await bench.store.remove([])


async def test_letters_are_removed_by_their_place(bench: Store) -> None:
    page, _ = await bench.store.look(None, 10)
    await bench.store.remove(page[1:])
    assert bench.readers[0].removed == [1, 2]


async def test_letters_in_flight_are_counted_with_what_is_ready(bench: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def declared(*_: object) -> tuple[int, int]:
        return 5, 1

    monkeypatch.setattr(dead_letters, "declare_passive", declared)
    assert tuple(await bench.store.count())[:2] == (5, False)
    await bench.store.look(None, 1)
    assert tuple(await bench.store.count())[:2] == (7, True)


async def test_closing_gives_the_letters_back_and_closes_the_connection(bench: Store) -> None:
    await bench.store.look(None, 1)
    await bench.store.close()
    assert bench.readers[0].did[-1] == "close"
    assert bench.closed == ["connection", bench.store]
