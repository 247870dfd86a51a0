"""When a producer sends and what it writes, on the fast path and through aiokafka's own ``send_batch()``.

Both paths are tested alike where they make the same promise.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from aiokafka.structs import TopicPartition

from msgbus_kafka.aiokafka_internals import verify
from msgbus_kafka.aiokafka_internals.producer_path import accumulator_of, install_producer_path
from msgbus_kafka.aiokafka_internals.send_batch import SendBatchAccumulator
from msgbus_kafka.aiokafka_internals.shutdown import stop_producer
from msgbus_kafka.producer.partition_writer import PartitionWriter
from tests.support.kafka.observed_records import Put, ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

ONE, OTHER, THIRD = (TopicPartition("orders", number) for number in range(3))
TOPICS = [("orders", [(0, b"batch"), (7, b"another")]), ("übung", [(2, b"")])]
KAFKA_2_1 = {ProduceRequest.API_KEY: (0, 7)}


class Cluster:
    """Nodes that answer when they are told to, and the leaders as metadata has them."""

    def __init__(self, leaders: Mapping[Any, int | None]) -> None:
        self.leaders: dict[Any, int | None] = dict(leaders)
        self.asked: list[tuple[int, list[int]]] = []
        """Each request: its node, and its batches' partitions."""
        self._answers: list[asyncio.Future[None]] = []
        self._answers_at_once = False
        self.updates: list[asyncio.Future[bool]] = []

    @property
    def cluster(self) -> Cluster:
        """The client's metadata, and here the client itself."""
        return self

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {partition.partition for partition in self.leaders if partition.topic == topic}

    async def _wait_on_metadata(self, topic: str) -> set[int]:
        return self.partitions_for_topic(topic)

    async def close(self) -> None:
        """There is no connection."""

    def leader_for_partition(self, partition: Any) -> int | None:
        return self.leaders[partition]

    async def send(self, node: int, request: Any) -> Any:
        ((topic, batches),) = request.build(ProduceRequest_v7).topics
        partitions = [partition for partition, _ in batches]
        self.asked.append((node, partitions))
        self._answers.append(asyncio.get_running_loop().create_future())
        if not self._answers_at_once:
            await self._answers[-1]
        return ProduceResponse_v7([(topic, [(partition, 0, 0, -1, 0) for partition in partitions])], 0)

    def answer(self, number: int, error: Exception | None = None) -> None:
        """Request ``number``."""
        if error is None:
            self._answers[number].set_result(None)
        else:
            self._answers[number].set_exception(error)

    def answer_all(self) -> None:
        """Every request, also those to come."""
        self._answers_at_once = True
        for answer in self._answers:
            if not answer.done():
                answer.set_result(None)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates.append(asyncio.get_running_loop().create_future())
        return self.updates[-1]


class Sending:
    """A sender at work, and what it is given."""

    def __init__(self, leaders: Mapping[Any, int | None]) -> None:
        self.cluster = Cluster(leaders)
        self.producer: Any = AIOKafkaProducer(
            bootstrap_servers="localhost:1",
            enable_idempotence=True,
            max_batch_size=1000,
            retry_backoff_ms=1,
            request_timeout_ms=1000,
        )
        self.producer._txn_manager.set_pid_and_epoch(1, 0)
        self.producer.client = self.producer._metadata = self.cluster
        self.producer._sender.client = self.producer._message_accumulator._cluster = self.cluster
        install_producer_path(self.producer)
        self.batches = accumulator_of(self.producer)
        self.sender = self.producer._sender

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


async def no_connection(_: object) -> None:
    """There is none to be closed."""


@pytest.fixture(params=["fast", "send_batch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The producer path; the second is what a missing part of aiokafka leads to."""
    if request.param == "send_batch":
        monkeypatch.setattr(verify, "fast_producer_problem", lambda: "aiokafka 0.0 has no Sender._sender_routine")
    return str(request.param)


@pytest.fixture
async def sending(path: str) -> AsyncGenerator[Sending]:
    """Two nodes; node 1 leads two partitions."""
    sending = Sending({ONE: 1, OTHER: 1, THIRD: 2})
    assert isinstance(sending.batches, SendBatchAccumulator) == (path == "send_batch")
    await sending.sender.start()
    yield sending
    sending.cluster.answer_all()
    sending.batches.fail_all(KafkaConnectionError("the test is over"))
    await sending.sender.close()
    sending.producer._closed = True


async def test_one_request_is_under_way_to_a_node_and_what_comes_meanwhile_is_the_next(sending: Sending) -> None:
    first = await sending.put(ONE)
    await sending.put(ONE)
    await sending.put(OTHER)
    await sending.put(THIRD)
    assert sending.cluster.asked == [(1, [0]), (2, [2])]
    sending.cluster.answer(0)
    await sending.calm()
    assert first.done()
    assert [(node, sorted(of_node)) for node, of_node in sending.cluster.asked] == [(1, [0]), (2, [2]), (1, [0, 1])]
    sending.cluster.answer(1)
    sending.cluster.answer(2)


@pytest.mark.parametrize("path", ["fast"], indirect=True)
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


@pytest.mark.parametrize("path", ["fast"], indirect=True)  # aiokafka's own sender waits for the metadata first
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


async def test_closing_waits_for_what_is_under_way(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msgbus_kafka.aiokafka_internals.shutdown.stop_client", no_connection)
    confirmed = await sending.put(ONE)
    closing = asyncio.ensure_future(stop_producer(sending.producer, 5.0))
    await sending.calm()
    assert not closing.done()
    sending.cluster.answer(0)
    await closing
    assert confirmed.done()


async def test_what_is_no_answer_ends_the_sender_and_every_message_fails(sending: Sending) -> None:
    first, second = await sending.put(ONE), await sending.put(OTHER)
    sending.cluster.answer(0, ZeroDivisionError("a defect"))
    for message in (first, second):
        with pytest.raises((ZeroDivisionError, KafkaError)):
            await message
    assert sending.sender.sender_task.done()


async def test_a_partition_keeps_its_order_when_batches_are_full(sending: Sending) -> None:
    writer = PartitionWriter(sending.batches, ONE, ended, lambda itself: itself.resume())
    messages = [Put(b"x" * 600) for _ in range(4)]
    for message in messages:
        writer.put(message)
    await sending.calm()
    assert [message.sent for message in messages] == [True, True, False, False]
    for number in range(4):
        assert len(sending.cluster.asked) == number + 1
        assert [message.confirmed.done() for message in messages] == [before < number for before in range(4)]
        sending.cluster.answer(number)
        await sending.calm()
    assert all(message.confirmed.done() for message in messages)


async def test_a_topic_that_is_gone_fails_what_waits_for_its_leader(sending: Sending, path: str) -> None:
    other = await sending.put(THIRD)
    sending.cluster.leaders[ONE] = None
    waits = await sending.put(ONE)
    sending.batches.fail_topic("orders", UnknownTopicOrPartitionError())
    with pytest.raises(UnknownTopicOrPartitionError):
        await waits
    sending.cluster.answer(0)
    await sending.calm()
    assert other.done()
    assert path == "send_batch" or not other.exception()
    other.exception()


async def test_what_has_no_answer_fails_when_the_producer_is_closed_in_time(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await sending.put(ONE), await sending.put(ONE)

    async def stopped(_: object) -> None:
        sending.cluster.answer(0, KafkaConnectionError())

    sending.cluster._maybe_wait_metadata = sending.calm  # type: ignore[attr-defined]
    monkeypatch.setattr("msgbus_kafka.aiokafka_internals.shutdown.stop_client", stopped)
    stopping = asyncio.ensure_future(stop_producer(sending.producer, 0.01))
    for message in (first, second):
        with pytest.raises(KafkaConnectionError):
            await message
    sending.cluster._answers[0] = asyncio.get_running_loop().create_future()
    await stopping
    assert not sending.batches.waiting


@pytest.mark.parametrize("defect", [False, True])
async def test_what_fails_before_it_is_sent_leaves_no_error_that_nobody_retrieves(
    sending: Sending, monkeypatch: pytest.MonkeyPatch, *, defect: bool
) -> None:
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context["message"]))
    monkeypatch.setattr("msgbus_kafka.aiokafka_internals.shutdown.stop_client", no_connection)
    sending.cluster._maybe_wait_metadata = sending.calm  # type: ignore[attr-defined]
    sending.cluster.leaders[OTHER] = None
    messages = [await sending.put(partition) for partition in (THIRD, OTHER, OTHER)]
    if defect:
        sending.cluster.answer(0, ZeroDivisionError("a defect"))
    else:
        sending.cluster.answer_all()
        await stop_producer(sending.producer, 0.0)
    await asyncio.wait(messages)
    assert messages[-1].exception()
    assert defect == bool(messages[0].exception())
    getattr(sending.producer._message_accumulator, "_batches", {}).clear()  # as when the producer is forgotten
    gc.collect()
    await sending.calm()
    assert not [text for text in logged if "never retrieved" in text]
