"""When the sender sends: one request per node, and again after a lost connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.structs import TopicPartition

from msgbus_kafka.aiokafka_internals.accumulator import Accumulator
from msgbus_kafka.aiokafka_internals.sender import FastSender
from tests.support.kafka.observed_records import Put, ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

ONE, OTHER, THIRD = (TopicPartition("orders", number) for number in range(3))


class Cluster:
    """Nodes that answer when they are told to, and the leaders as metadata has them."""

    def __init__(self, leaders: Mapping[Any, int | None]) -> None:
        self.leaders: dict[Any, int | None] = dict(leaders)
        self.asked: list[tuple[int, list[int]]] = []
        """Each request: its node, and its batches' partitions."""
        self._answers: list[asyncio.Future[None]] = []
        self.updates: list[asyncio.Future[bool]] = []

    def leader_for_partition(self, partition: Any) -> int | None:
        return self.leaders[partition]

    async def send(self, node: int, request: Any) -> Any:
        ((topic, batches),) = request.build(ProduceRequest_v7).topics
        partitions = [partition for partition, _ in batches]
        self.asked.append((node, partitions))
        self._answers.append(asyncio.get_running_loop().create_future())
        await self._answers[-1]
        return ProduceResponse_v7([(topic, [(partition, 0, 0, -1, 0) for partition in partitions])], 0)

    def answer(self, number: int, error: Exception | None = None) -> None:
        """Request ``number``."""
        if error is None:
            self._answers[number].set_result(None)
        else:
            self._answers[number].set_exception(error)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates.append(asyncio.get_running_loop().create_future())
        return self.updates[-1]


class Sending:
    """A sender at work, and what it is given."""

    def __init__(self, leaders: Mapping[Any, int | None]) -> None:
        self.cluster = Cluster(leaders)
        transactions = TransactionManager(None, 1000)
        transactions.set_pid_and_epoch(1, 0)
        self.batches = Accumulator(self.cluster, transactions, 1000, 30.0)
        self.sender = FastSender(
            self.cluster,
            acks=-1,
            txn_manager=transactions,
            message_accumulator=self.batches,
            retry_backoff_ms=1,
            request_timeout_ms=1000,
        )

    async def put(self, partition: Any) -> asyncio.Future[None]:
        """A message; resolves when it is confirmed."""
        message = Put()
        assert self.batches.open_batch(partition, ended).add(message)
        await self.calm()
        return message.confirmed

    async def calm(self) -> None:
        """Let all happen that waits for nothing but its turn."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def sending() -> AsyncGenerator[Sending]:
    """Two nodes; node 1 leads two partitions."""
    sending = Sending({ONE: 1, OTHER: 1, THIRD: 2})
    await sending.sender.start()
    yield sending
    await sending.sender.close()


async def test_one_request_is_under_way_to_a_node_and_what_comes_meanwhile_is_the_next(sending: Sending) -> None:
    first = await sending.put(ONE)
    await sending.put(ONE)
    await sending.put(OTHER)
    await sending.put(THIRD)
    assert sending.cluster.asked == [(1, [0]), (2, [2])]
    sending.cluster.answer(0)
    await sending.calm()
    assert first.done()
    assert sending.cluster.asked == [(1, [0]), (2, [2]), (1, [0, 1])]
    sending.cluster.answer(1)
    sending.cluster.answer(2)


async def test_a_request_leaves_two_turns_after_the_answer_it_waited_for(sending: Sending) -> None:
    await sending.put(ONE)
    await sending.put(OTHER)
    sending.cluster.answer(0)
    await asyncio.sleep(0)  # the answer is read
    assert len(sending.cluster.asked) == 1
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(sending.cluster.asked) == 2
    sending.cluster.answer(1)


async def test_who_waits_for_a_leader_holds_up_nobody_and_is_sent_when_there_is_one(sending: Sending) -> None:
    sending.cluster.leaders[ONE] = None
    waits = await sending.put(ONE)
    assert sending.cluster.updates
    other = await sending.put(OTHER)
    sending.cluster.answer(0)
    await sending.calm()
    assert other.done()
    assert not waits.done()
    sending.cluster.leaders[ONE] = 2
    sending.cluster.updates[0].set_result(True)
    await sending.calm()
    assert sending.cluster.asked == [(1, [1]), (2, [0])]
    sending.cluster.answer(1)


async def test_what_was_cut_off_is_sent_again(sending: Sending) -> None:
    confirmed = await sending.put(ONE)
    sending.cluster._maybe_wait_metadata = sending.calm  # type: ignore[attr-defined]
    sending.cluster.answer(0, KafkaConnectionError())
    async with asyncio.timeout(5):
        while len(sending.cluster.asked) < 2:
            await asyncio.sleep(0.001)  # a request tells nobody that it was sent
    assert sending.cluster.asked == [(1, [0])] * 2
    sending.cluster.answer(1)
    await confirmed


async def test_closing_waits_for_what_is_under_way(sending: Sending) -> None:
    confirmed = await sending.put(ONE)
    closing = asyncio.ensure_future(sending.sender.close())
    await sending.calm()
    assert not closing.done()
    sending.cluster.answer(0)
    await closing
    assert confirmed.done()


async def test_what_is_no_answer_ends_the_sender_and_every_message_fails(sending: Sending) -> None:
    first, second = await sending.put(ONE), await sending.put(OTHER)
    sending.cluster.answer(0, ZeroDivisionError("a defect"))
    for message in (first, second):
        with pytest.raises(ZeroDivisionError):
            await message
    assert sending.sender.sender_task.done()
