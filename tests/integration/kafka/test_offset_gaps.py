"""Missing offsets in a partition: the log's own gaps, retention, and records that the client has lost."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from msgbus.adapter.envelope import Outgoing
from tests.support.adapters.kafka_group import DEADLINE, Group, made, publish
from tests.support.kafka.raw_batches import batch, delete_before, put, transactional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgbus.adapter.address import Address
    from msgbus_kafka import KafkaAdapter
    from tests.support.adapters.kafka_group import Member
    from tests.support.servers.native import NativeServer


SERVER_SETTINGS = {"log.cleaner.backoff.ms": "100"}


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Said:
    return Said(caplog)


class Said(list[str]):
    """The warnings of the adapter so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__()
        self._caplog = caplog

    def __iter__(self) -> Iterator[str]:
        told = [one for one in self._caplog.records if one.name == "msgbus.kafka"]
        return (one.getMessage() for one in told if one.levelno >= logging.WARNING)


def counted(member: Member) -> list[Any]:
    """The partitions that are sought, as they are: each is one more fetch of what was fetched already."""
    sought: list[Any] = []
    client = member.consumer._client  # type: ignore[attr-defined]
    seek = client.seek

    def counting(partition: Any, offset: int) -> None:
        sought.append((partition, offset))
        seek(partition, offset)

    client.seek = counting
    return sought


async def test_transactions_that_end_well_or_are_taken_back_leave_gaps_that_cost_nothing(
    adapter: KafkaAdapter, server: NativeServer, group: Group, warnings: Said
) -> None:
    queue = await made(adapter, partitions=2)
    member = await group.member(queue, limit=500)
    sought = counted(member)
    good: list[str] = []
    async with transactional(server.url, f"t-{queue}") as producer:
        for number in range(60):  # while they are consumed, so that gaps lie within and between fetches
            await producer.begin_transaction()
            kept = number % 3 != 1
            for part in range(number % 4 + 1):
                id = f"{number}-{part}"
                await producer.send_and_wait(str(queue), b"x", partition=part % 2, headers=[("msgbus-id", id.encode())])
                good += [id] if kept else []
            await (producer.commit_transaction() if kept else producer.abort_transaction())
            if number % 10 == 9:
                await group.until_handled(good)
    await publish(adapter, queue, range(100))
    await group.until_handled([*good, *range(100)])
    assert len(group.handled) == len(good) + 100
    assert [*warnings] == []
    assert not sought
    # And all at once, by a member that finds them there.
    late = Group(adapter, group._stack)
    other = await late.member(queue, limit=1000)
    sought = counted(other)
    await late.until_handled([*good, *range(100)])
    assert len(late.handled) == len(good) + 100
    assert [*warnings] == []
    assert not sought


async def test_the_gaps_of_compaction_cost_nothing_and_are_not_told(
    adapter: KafkaAdapter, group: Group, warnings: Said
) -> None:
    cleaned = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"}
    queue = await made(adapter, partitions=1, compact=True, native=cleaned)
    for number in range(300):
        one = Outgoing(queue, str(number), 0, b"x", str(number % 7 if number < 250 else number), {})
        assert await adapter.publish([one], DEADLINE) == [None]
    async with asyncio.timeout(DEADLINE):
        while await offsets_of_all(adapter, queue) > 120:
            one = Outgoing(queue, "roll", 0, b"x", "roll", {})
            assert await adapter.publish([one], DEADLINE) == [None]
            await asyncio.sleep(0.3)
    member = await group.member(queue, limit=500)
    sought = counted(member)
    await group.until_handled(range(250, 300))
    assert len(group.handled) <= 120
    assert [*warnings] == []
    assert not sought


async def offsets_of_all(adapter: KafkaAdapter, queue: Address) -> int:
    stretch = await adapter.open_history(queue, "g", "oldest", None)
    try:
        count = 0
        while some := await stretch.read(500):
            count += len(some)
        return count
    finally:
        await stretch.close()


async def test_retention_that_overtakes_a_running_member_is_told_with_queue_partition_and_count(
    adapter: KafkaAdapter, group: Group, warnings: Said
) -> None:
    queue, other = await made(adapter, partitions=1), await made(adapter, partitions=1)
    member = await group.member(queue, other, limit=100)
    member.holding = True
    body = b"x" * 2000
    for start in range(0, 6000, 100):
        outgoing = [Outgoing(queue, str(id), 0, body, None, {}) for id in range(start, start + 100)]
        assert not any(await adapter.publish(outgoing, DEADLINE))
    await group.until(lambda: len(member.held) == 100, "holding all it may")
    await delete_before(adapter, queue, 5500)
    member.holding = False
    held, member.held = member.held, []
    await member.handle(held)
    await publish(adapter, other, range(10_000, 10_100))
    await group.until_handled([*range(5500, 6000), *range(10_000, 10_100)])
    assert group.repeated == 0
    (said,) = warnings
    handled = sorted(int(one.id) for one in group.handled if int(one.id) < 6000)
    lost = 6000 - len(handled)
    assert f"queue {queue}, group {group.name}, partition 0: {lost} records were deleted by retention" in said
    assert f"(offsets {5500 - lost} to 5499)" in said


async def test_records_that_the_client_loses_are_fetched_again_and_told(
    adapter: KafkaAdapter, group: Group, warnings: Said
) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue, limit=500)
    await publish(adapter, queue, range(10))
    await group.until_handled(range(10))
    client = member.consumer._client  # type: ignore[attr-defined]
    getmany, lost = client.getmany, asyncio.Event()
    losses: list[slice] = [slice(0, 100), slice(3, 5)]

    async def losing(*partitions: Any, **how: Any) -> Any:
        fetched = await getmany(*partitions, **how)
        for one, records in [*fetched.items()] if losses and not lost.is_set() else ():
            del records[losses.pop(0)]
            lost.set()
            if not records:
                del fetched[one]
        return fetched

    client.getmany = losing
    await publish(adapter, queue, range(10, 20))
    await lost.wait()
    await publish(adapter, queue, range(20, 30))
    await group.until_handled(range(30))
    lost.clear()
    await publish(adapter, queue, range(30, 40))
    await group.until_handled(range(40))
    assert [int(one.id) for one in group.handled] == list(range(40))
    first, second = warnings
    assert "10 records are missing: offset 10 was expected and 20 was fetched" in first
    assert "2 records are missing: offset 33 was expected and 35 was fetched" in second


async def test_a_position_that_the_client_moves_is_noticed(adapter: KafkaAdapter, group: Group, warnings: Said) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue, limit=500)
    await publish(adapter, queue, range(10))
    await group.until_handled(range(10))
    await member.pause()
    client = member.consumer._client  # type: ignore[attr-defined]
    (session,) = member.consumer._sessions.all()  # type: ignore[attr-defined]
    client.seek(session.partition, 15)
    await publish(adapter, queue, range(10, 20))
    await member.subscribe({queue: 500})
    await group.until_handled(range(20))
    assert group.repeated == 0
    assert ["5 records are missing: offset 10 was expected" in one for one in warnings] == [True]


async def test_a_log_that_ends_in_markers_and_aborted_batches_goes_on_behind_them(
    adapter: KafkaAdapter, server: NativeServer, group: Group, warnings: Said
) -> None:
    queue = await made(adapter, partitions=1)
    member = await group.member(queue, limit=100)
    sought = counted(member)
    async with transactional(server.url, f"t-{queue}") as producer:
        for round_ in range(5):
            for _ in range(3):  # nothing of these is ever seen
                await producer.begin_transaction()
                await producer.send_and_wait(str(queue), b"x")
                await producer.abort_transaction()
            first = await put(adapter, queue, batch([b"after", b"wards"]))
            await group.until_handled([f"{queue}-0@{first}", f"{queue}-0@{first + 1}"])
            assert len(group.handled) == 2 * (round_ + 1)
    assert [*warnings] == []
    assert not sought
