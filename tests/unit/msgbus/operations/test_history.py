"""Rewinding and replaying over a scripted adapter: what is asked of it, what is sent, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter import HistoryReader
from msgbus.broker import Broker
from msgbus.errors import BrokerError, ConfigurationError, PublishUnknown
from tests.support.scripted_adapter import ScriptedAdapter, delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Delivery


class Reader(HistoryReader):
    """A history of some messages; it notes the limits of its reads."""

    def __init__(self, count: int) -> None:
        self.limits: list[int] = []
        self.closed = False
        self._left = [delivery("s", number, str(number)) for number in range(count)]

    async def read(self, limit: int) -> Sequence[Delivery]:
        self.limits.append(limit)
        page, self._left = self._left[:limit], self._left[limit:]
        return page

    async def close(self) -> None:
        self.closed = True


class Historic(ScriptedAdapter):
    """Keeps a history of three messages, and what is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader(3)
        self.positions: list[tuple[Any, ...]] = []

    async def rewind(self, address: Address, group: str, position: Position) -> None:
        self.positions.append((str(address), group, position))

    async def open_history(self, address: Address, group: str, begin: Position, end: Position | None) -> HistoryReader:
        self.positions.append((str(address), group, begin, end))
        return self.reader


@pytest.fixture
async def adapter() -> Historic:
    return Historic()


async def test_a_group_is_rewound_to_a_position(adapter: Historic) -> None:
    async with Broker(adapter, group="g") as broker:
        history = broker.history("q")
        await history.rewind("oldest")
        await history.rewind(datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None))
    assert adapter.positions == [("q", "g", "oldest"), ("q", "g", datetime(2026, 1, 2, tzinfo=UTC))]


async def test_a_replay_sends_every_message_to_the_groups_first_retry_queue(adapter: Historic) -> None:
    progress: list[int] = []
    async with Broker(adapter, group="g") as broker:
        result = await broker.history("q").replay("oldest", "newest", progress=progress.append)
    assert adapter.positions == [("q", "g", "oldest", "newest")]
    assert (result.taken, result.arrived, result.refused, result.complete) == (3, 3, [], True)
    assert [(one.id, str(one.address)) for one in adapter.copies] == [(str(n), "q.g.retry.1s") for n in range(3)]
    assert progress == [3]
    assert adapter.reader.closed


async def test_a_dry_run_counts_and_sends_nothing(adapter: Historic) -> None:
    async with Broker(adapter, group="g") as broker:
        result = await broker.history("q").replay("oldest", dry_run=True)
    assert (result.taken, result.arrived, result.complete) == (3, 0, False)
    assert not adapter.copies


async def test_with_a_rate_messages_are_read_one_by_one(adapter: Historic) -> None:
    async with Broker(adapter, group="g") as broker:
        await broker.history("q").replay("oldest", rate=1000)
    assert adapter.reader.limits == [1, 1, 1, 1]


async def test_a_replay_ends_at_the_first_message_that_is_refused(adapter: Historic) -> None:
    refused: list[BrokerError | None] = [None, PublishUnknown("cut off"), None]
    adapter.script.append(refused)
    async with Broker(adapter, group="g") as broker:
        result = await broker.history("q").replay("oldest")
    assert (result.taken, result.arrived, result.complete) == (3, 2, False)
    assert [str(error) for error in result.refused] == [str(refused[1])]
    assert adapter.reader.closed


@pytest.mark.parametrize("rate", [0, -1.0])
async def test_a_rate_that_is_none_is_refused(adapter: Historic, rate: float) -> None:
    async with Broker(adapter, group="g") as broker:
        with pytest.raises(ConfigurationError, match="rate must be above 0"):
            await broker.history("q").replay("oldest", rate=rate)


@pytest.mark.parametrize("wrong", ["", None, 7])
async def test_a_position_of_another_type_is_refused(adapter: Historic, wrong: Any) -> None:
    async with Broker(adapter, group="g") as broker:
        with pytest.raises(ConfigurationError, match="a position is"):
            await broker.history("q").rewind(wrong)
    assert not adapter.positions
