"""Starting, replacing and closing producers, without a server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError

from msgbus.errors import BrokerUnavailable
from msgbus_kafka.producer import producer_slot
from msgbus_kafka.producer.producer_slot import BATCH_BYTES, ProducerSlot
from tests.support.kafka.accumulators import ONE
from tests.support.kafka.observed_records import Put, ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus_kafka.aiokafka_internals.accumulator import Accumulator
    from tests.support.kafka.accumulators import Leaders

FOREVER = 60.0


class FakeProducer:
    """A producer whose start and stop end when the test says so."""

    def __init__(self, batches: Accumulator) -> None:
        self.may_start, self.may_stop = asyncio.Event(), asyncio.Event()
        self.may_start.set()
        self.starting, self.closed = asyncio.Event(), False
        self.on_started: Callable[[], object] = lambda: None
        self.msgbus_accumulator = batches
        task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        self._sender = SimpleNamespace(sender_task=task, _sender_task=task)
        self.client = SimpleNamespace(
            close=self._close, _sync_task=None, _md_update_fut=None, _get_conn_lock=asyncio.Lock(), _conns={}
        )

    async def start(self) -> None:
        self.starting.set()
        await self.may_start.wait()
        self.on_started()

    async def stop(self) -> None:
        await self.may_stop.wait()

    async def _close(self) -> None:
        self.closed = True


@pytest.fixture
async def producer(batches: Accumulator, monkeypatch: pytest.MonkeyPatch) -> FakeProducer:
    producer = FakeProducer(batches)
    monkeypatch.setattr(producer_slot, "new_producer", lambda *_, **__: producer)
    return producer


@pytest.fixture
async def slot() -> ProducerSlot:
    access: Any = SimpleNamespace(servers="here")
    return ProducerSlot(access, BATCH_BYTES)


async def test_a_producer_that_starts_while_its_slot_is_closed_is_closed(
    producer: FakeProducer, slot: ProducerSlot
) -> None:
    producer.may_start.clear()
    starting = asyncio.ensure_future(slot.ready())
    await producer.starting.wait()
    await slot.close(FOREVER)
    producer.may_start.set()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await starting
    assert producer.closed
    assert producer._sender.sender_task.done()


async def test_a_closed_slot_starts_no_producer(producer: FakeProducer, slot: ProducerSlot) -> None:
    await slot.close(FOREVER)
    with pytest.raises(BrokerUnavailable, match="closed"):
        await slot.ready()
    assert not producer.starting.is_set()


async def test_a_start_that_is_cancelled_in_the_moment_in_which_it_ends_leaves_no_producer(
    producer: FakeProducer, slot: ProducerSlot
) -> None:
    starting = asyncio.ensure_future(slot.ready())
    producer.on_started = starting.cancel
    await asyncio.wait({starting})
    assert starting.cancelled()
    producer.may_stop.set()
    await slot.close(FOREVER)
    assert producer.closed
    assert producer._sender.sender_task.done()


async def test_closing_gives_a_result_to_the_messages_of_a_replaced_producer(
    producer: FakeProducer, slot: ProducerSlot, batches: Accumulator, leaders: Leaders
) -> None:
    leaders.of[ONE] = None
    await slot.ready()
    waiting = Put()
    assert batches.open_batch(ONE, ended).add(waiting)
    slot.replace(cast("Any", producer))
    await slot.close(0.01)
    assert isinstance(waiting.confirmed.exception(), KafkaConnectionError)
    assert producer.closed
    assert producer._sender.sender_task.done()


async def test_closing_waits_for_what_a_replaced_producer_still_sends(
    producer: FakeProducer, slot: ProducerSlot, batches: Accumulator
) -> None:
    await slot.ready()
    sent = Put()
    assert batches.open_batch(ONE, ended).add(sent)
    slot.replace(cast("Any", producer))
    closing = asyncio.ensure_future(slot.close(FOREVER))
    await asyncio.sleep(0)
    assert not sent.confirmed.done()
    nodes, _ = batches.take((), ())
    nodes[1][ONE].done()
    producer.may_stop.set()
    await closing
    assert sent.confirmed.result() is None
    assert producer.closed
