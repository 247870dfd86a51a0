"""Batch writer, which concurrent publish calls share."""

from __future__ import annotations

import asyncio

import pytest

from msgbus.adapter.address import Address
from msgbus.adapter.batch_writer import BatchWriter
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.publish_calls import CallTimeouts, PendingMessage, PublishCall
from msgbus.errors import BrokerError, BrokerUnavailable, PublishUnknown


class Pen:
    """Writes what it is given, when it is let, and keeps what it wrote."""

    def __init__(self, *, messages: int = 100, heaviest: int = 1000) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.writing = asyncio.Event()
        self.refuses: Exception | None = None
        self._waiting = CallTimeouts()
        self.writer = BatchWriter[PendingMessage](
            name="test",
            write=self._write,
            failed=self._failed,
            messages=messages,
            heaviest=heaviest,
        )

    async def _write(self, batch: list[PendingMessage]) -> None:
        self.batches.append([int(item.message.id) for item in batch])
        self.writing.set()
        await self.let.wait()
        if self.refuses is not None:
            raise self.refuses
        for item in batch:
            item.complete(None)

    @staticmethod
    def _failed(batch: list[PendingMessage], error: Exception) -> None:
        for item in batch:
            item.complete(BrokerUnavailable(str(error)))

    async def publish(self, *ids: int, timeout: float = 10.0, size: int = 1) -> list[BrokerError | None]:
        call = PublishCall(len(ids), asyncio.get_running_loop().time() + timeout)
        items = [PendingMessage(call, place, _message(number, size)) for place, number in enumerate(ids)]
        self.writer.add(items)
        return await self._waiting.collect_results(
            call, items, lambda item: PublishUnknown(f"{item.message.id} is late")
        )


def _message(number: int, size: int) -> Outgoing:
    return Outgoing(Address("orders"), id=str(number), time=0, body=b"x" * size, key=None, headers={})


async def begun(pen: Pen, *ids: int, timeout: float = 10.0, size: int = 1) -> asyncio.Task[list[BrokerError | None]]:
    """A call whose items wait, or are being written."""
    call = asyncio.create_task(pen.publish(*ids, timeout=timeout, size=size))
    await asyncio.sleep(0)
    return call


async def test_a_lone_call_waits_for_no_company() -> None:
    pen = Pen()
    assert await pen.publish(1) == [None]
    assert await pen.publish(2) == [None]
    assert pen.batches == [[1], [2]]


async def test_what_is_called_during_a_write_goes_out_together_in_the_order_of_the_calls() -> None:
    pen = Pen()
    pen.let.clear()
    calls = [await begun(pen, 1)]
    await pen.writing.wait()
    calls += [await begun(pen, 2, 3), await begun(pen, 4)]
    pen.let.set()
    assert await asyncio.gather(*calls) == [[None], [None, None], [None]]
    assert pen.batches == [[1], [2, 3, 4]]


async def test_a_write_is_full_by_its_messages_or_by_their_weight() -> None:
    pen = Pen(messages=3, heaviest=10)
    pen.let.clear()
    calls = [await begun(pen, 0)]
    await pen.writing.wait()
    calls += [await begun(pen, 1, 2, 3, 4), await begun(pen, 5, size=11), await begun(pen, 6, 7, size=6)]
    pen.let.set()
    await asyncio.gather(*calls)
    assert pen.batches == [[0], [1, 2, 3], [4], [5], [6], [7]]


async def test_a_late_call_has_its_verdict_at_its_deadline_and_its_neighbour_the_servers() -> None:
    pen = Pen()
    pen.let.clear()
    late, patient = await begun(pen, 1, timeout=0.01), await begun(pen, 2)
    (verdict,) = await late
    assert isinstance(verdict, PublishUnknown)
    assert "1 is late" in str(verdict)
    pen.let.set()
    assert await patient == [None]
    assert (await late)[0] is verdict


async def test_what_nobody_waits_for_any_more_is_not_written() -> None:
    pen = Pen()
    pen.let.clear()
    first = await begun(pen, 1)
    await pen.writing.wait()
    cancelled, late, wanted = await begun(pen, 2), await begun(pen, 3, timeout=0), await begun(pen, 4)
    cancelled.cancel()
    await late
    pen.let.set()
    assert list(await asyncio.gather(first, wanted)) == [[None], [None]]
    assert cancelled.cancelled()
    assert pen.batches == [[1], [4]]


async def test_a_cancelled_call_does_not_disturb_those_that_share_its_write() -> None:
    pen = Pen()
    pen.let.clear()
    first = await begun(pen, 1)
    await pen.writing.wait()
    cancelled, neighbour = await begun(pen, 2), await begun(pen, 3)
    pen.let.set()
    await first
    pen.let.clear()
    assert pen.batches == [[1], [2, 3]]
    cancelled.cancel()
    pen.let.set()
    assert await neighbour == [None]


async def test_a_failed_write_is_a_verdict_for_each_of_its_messages_and_the_next_one_is_tried() -> None:
    pen = Pen()
    pen.refuses = OSError("the wire broke")
    verdicts = await pen.publish(1, 2)
    assert [str(one) for one in verdicts] == ["the wire broke"] * 2
    pen.refuses = None
    assert await pen.publish(3) == [None]


@pytest.mark.parametrize("timeout", [10.0, 0.02])
async def test_closing_ends_what_is_written_and_what_waits(timeout: float) -> None:
    pen = Pen(messages=1)
    pen.let.clear()
    calls = [await begun(pen, 1, timeout=timeout), await begun(pen, 2, timeout=timeout)]
    await pen.writing.wait()
    await pen.writer.close()
    for (verdict,) in await asyncio.gather(*calls):
        assert isinstance(verdict, BrokerUnavailable)
    assert pen.batches == [[1]]
    pen.let.set()
    assert await pen.publish(3) == [None]
