"""Kafka's URL, the timeouts that follow from it, new topics, and answers as errors."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.headers import BODY_MAX_BYTES, HEADERS_MAX_BYTES
from msgbus.adapter.url import BrokerURL
from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    ConfigurationError,
    InvalidName,
    MsgbusError,
    QueueConflict,
    Unsupported,
)
from msgbus_kafka import KafkaAdapter, KafkaOptions
from msgbus_kafka.admin.topic_config import MAX_BATCH_BYTES, differences, new_topic, replication_factor
from msgbus_kafka.admin.topics import Topics
from msgbus_kafka.aiokafka_internals.offset_fetch import install_offset_fetch_guard, offset_fetch_error
from msgbus_kafka.aiokafka_internals.shutdown import stop_client
from msgbus_kafka.consumer.start_offsets import classify_start
from msgbus_kafka.diagnostics import SLOW_CLIENT_FINDING
from msgbus_kafka.errors import error_for_code
from msgbus_kafka.history import parse_origin
from msgbus_kafka.options import Timing
from msgbus_kafka.producer.partitioner import Partitioner
from msgbus_kafka.producer.producer_slot import BATCH_BYTES


def spec(**fields: Any) -> QueueSpec:
    return QueueSpec(**{"address": Address("orders"), **fields})


@pytest.mark.parametrize("session", [1, 3, 6, 10, 45, 300])
def test_a_member_can_always_let_go_before_the_group_gives_up_on_it(session: float) -> None:
    timing = Timing.of(session)
    assert timing.drain + timing.commit < timing.rebalance < timing.request < timing.session
    assert timing.heartbeat * 3 <= timing.session


def test_the_usual_timeouts_are_those_that_were_measured() -> None:
    timing = Timing.of(45)
    assert (timing.drain, timing.rebalance, timing.request, timing.session) == (18, 30, 40, 45)


@pytest.mark.parametrize("session", [0, -1, 0.5, 5000, float("nan")])
def test_an_impossible_session_timeout_is_named(session: float) -> None:
    with pytest.raises(ConfigurationError, match="session_timeout"):
        KafkaAdapter(BrokerURL.parse("kafka://h"), KafkaOptions(session_timeout=session))


@pytest.mark.parametrize("url", ["kafka://", "kafka://h/path"])
def test_a_url_that_is_none_of_kafkas_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="kafka"):
        KafkaAdapter(BrokerURL.parse(url), KafkaOptions())


def test_an_ordinary_queue_is_eight_partitions_that_take_the_largest_message() -> None:
    topic = new_topic(spec())
    assert (topic.name, topic.partitions, topic.asked_partitions) == ("orders", 8, None)
    assert topic.settings == {"max.message.bytes": str(MAX_BATCH_BYTES)}
    assert BATCH_BYTES < MAX_BATCH_BYTES
    assert MAX_BATCH_BYTES > BODY_MAX_BYTES + 2 * HEADERS_MAX_BYTES


def test_a_retry_queue_has_one_partition() -> None:
    assert new_topic(spec(address=Address("orders", "g", "retry.5s"))).partitions == 1
    assert new_topic(spec(address=Address("orders", "g", "retry.5s"), partitions=4)).partitions == 4


def test_settings_become_kafkas_words_and_native_ones_win() -> None:
    topic = new_topic(spec(retention=1.5, compact=True, native={"retention.ms": "9", "max.message.bytes": "77"}))
    assert topic.settings == {"max.message.bytes": "77", "cleanup.policy": "compact", "retention.ms": "9"}
    assert topic.max_batch_bytes == 77


@pytest.mark.parametrize(
    ("default", "brokers", "copies"), [(1, 1, 1), (1, 2, 1), (1, 3, 3), (1, 9, 3), (2, 3, 2), (3, 2, 2), (5, 9, 5)]
)
def test_replicas_are_the_clusters_default_or_three_as_far_as_there_are_brokers(
    default: int, brokers: int, copies: int
) -> None:
    assert replication_factor(default, brokers) == copies


def test_each_setting_that_differs_is_named_and_others_are_not() -> None:
    topic = new_topic(spec(partitions=4, retention=1, compact=True))
    there = {"retention.ms": "2000", "cleanup.policy": "delete", "max.message.bytes": "5"}
    assert differences(topic, 3, there) == [
        "partitions is 3, not 4",
        "retention.ms is 2000, not 1000",
        "cleanup.policy is delete, not compact",
    ]


def test_what_was_not_asked_for_is_not_compared() -> None:
    assert differences(new_topic(spec()), 3, {"retention.ms": "1"}) == []


def test_lists_are_compared_without_their_order() -> None:
    topic = new_topic(spec(native={"cleanup.policy": "compact,delete"}))
    assert differences(topic, 8, {"cleanup.policy": "delete, compact"}) == []


@pytest.mark.parametrize(
    ("code", "message", "ours"),
    [
        (17, "bad name", InvalidName),
        (17, "Topic 'a_b' collides with existing topic: a.b", QueueConflict),
        (29, None, AccessRefused),
        (38, None, ConfigurationError),
        (40, "Unknown topic config name: x", ConfigurationError),
        (44, None, Unsupported),
        (7, None, BrokerUnavailable),
        (9999, None, BrokerUnavailable),
    ],
)
def test_answers_become_our_errors(code: int, message: str | None, ours: type[MsgbusError]) -> None:
    error = error_for_code(code, message, "queue orders")
    assert type(error) is ours
    assert str(error).startswith("queue orders: ")
    assert (message or "") in str(error)


def test_a_key_goes_where_javas_client_sends_it() -> None:
    spread = Partitioner()
    # From Kafka's own tests of Utils.murmur2: "21" is -973932308, "foobar" -790332482.
    assert spread.partition(b"21", range(1000), []) == (-973932308 & 0x7FFFFFFF) % 1000
    assert spread.partition(b"foobar", range(1000), []) == (-790332482 & 0x7FFFFFFF) % 1000


def test_messages_without_a_key_go_everywhere_in_turn() -> None:
    spread = Partitioner()
    assert {spread.partition(None, range(4), range(4)) for _ in range(4)} == {0, 1, 2, 3}


def offsets(*codes: int, error: int = 0) -> Any:
    rows = [(number, 50, "", code) for number, code in enumerate(codes)]
    return SimpleNamespace(error_code=error, topics=[("t", rows)] if rows else [])


@pytest.mark.parametrize(
    ("response", "code"), [(offsets(0, 0), 0), (offsets(error=16), 16), (offsets(0, 14), 14), (offsets(3, 0), 0)]
)
def test_an_offset_fetch_that_says_nothing_is_recognised(response: Any, code: int) -> None:
    assert offset_fetch_error(response) == code


async def nothing_pending(_: object, topics: object) -> bool:
    del topics
    return False


async def test_the_guard_lets_other_requests_pass() -> None:
    async def send(request: object) -> object:
        return request

    coordinator = SimpleNamespace(_send_req=send, _do_commit_offsets=send)
    install_offset_fetch_guard(SimpleNamespace(_coordinator=coordinator), nothing_pending, lambda _: None)
    assert await coordinator._send_req("heartbeat") == "heartbeat"


async def test_the_guard_makes_aiokafka_ask_again() -> None:
    from aiokafka.errors import NotCoordinatorForGroupError
    from aiokafka.protocol.commit import OffsetFetchRequest

    dead: list[bool] = []

    async def send(_: object) -> object:
        return offsets(error=16)

    coordinator = SimpleNamespace(_send_req=send, _do_commit_offsets=send, coordinator_dead=lambda: dead.append(True))
    install_offset_fetch_guard(SimpleNamespace(_coordinator=coordinator), nothing_pending, lambda _: None)
    with pytest.raises(NotCoordinatorForGroupError) as caught:
        await coordinator._send_req(OffsetFetchRequest("g", []))
    assert caught.value.retriable
    assert dead == [True]


async def test_a_client_that_hangs_while_closing_is_left_after_a_bound() -> None:
    import asyncio

    async def close() -> None:
        await asyncio.Event().wait()

    client = SimpleNamespace(
        close=close, _sync_task=None, _md_update_fut=None, _get_conn_lock=asyncio.Lock(), _conns={}
    )
    async with asyncio.timeout(5):
        await stop_client(client)


async def test_a_connection_that_is_made_while_its_client_closes_is_closed_too_and_no_other_is_made() -> None:
    import asyncio

    closed: list[str] = []

    async def close() -> None:
        closed.append("client")

    lock = asyncio.Lock()
    client = SimpleNamespace(close=close, _sync_task=None, _md_update_fut=None, _get_conn_lock=lock, _conns={})
    await lock.acquire()
    stopping = asyncio.ensure_future(stop_client(client))
    while not closed:
        await asyncio.sleep(0)
    client._conns["late"] = SimpleNamespace(close=lambda: closed.append("late"))
    lock.release()
    await stopping
    assert closed == ["client", "late"]
    assert await client._get_conn("node") is None


def test_positions_are_read_in_kafkas_words_and_stay_within_what_is_kept() -> None:
    bounds = {0: (5, 20), 1: (0, 9)}
    assert parse_origin("a-1.b", "a-1.b-0@17", bounds) == {0: 17}
    assert parse_origin("q", "12", bounds) == {0: 12, 1: 9}
    assert parse_origin("q", "q-0@1", bounds) == {0: 5}
    for wrong in ("r-0@1", "q-2@1", "q-0", "q-0@", "-1", "yesterday"):
        with pytest.raises(ConfigurationError):
            parse_origin("q", wrong, bounds)


@pytest.mark.parametrize("wrong", [{"drain": 26}, {"rebalance": 40}, {"request": 45}])
def test_timeouts_out_of_their_order_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"drain.*rebalance.*request.*session"):
        replace(Timing.of(45), **wrong)


@pytest.mark.parametrize(
    ("first", "commit", "kept", "end", "seek", "says"),
    [
        (7, 7, 0, 9, None, ""),
        (0, 7, 0, 9, 7, "sent back"),
        (0, 7, 0, 5, None, "delivered again"),  # cut off, or made anew
        (5, 2, 5, 9, None, "3 records were deleted"),
        (5, 2, 0, 9, None, ""),  # compaction, or another member was further
        (0, None, 0, 9, None, ""),  # rewound by nobody's commit
    ],
)
def test_a_partition_that_begins_elsewhere_is_sent_back_or_explained(  # noqa: PLR0913, PLR0917 - a row of the table
    first: int, commit: int | None, kept: int, end: int, seek: int | None, says: str
) -> None:
    verdict = classify_start(first, commit, kept, end)
    assert verdict.seek == seek
    assert says in verdict.warning
    assert bool(verdict.warning) == bool(says)


def test_an_assignor_is_a_name_or_a_class_of_assignors(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

    from msgbus import connect

    connect("kafka://localhost", assignor=RoundRobinPartitionAssignor)
    monkeypatch.setenv("MSGBUS_ASSIGNOR", "sticky")
    connect("kafka://localhost")
    for wrong in ("fair", str):
        with pytest.raises(ConfigurationError, match="assignor"):
            connect("kafka://localhost", assignor=wrong)


@pytest.mark.parametrize(("insync", "brokers", "said"), [("1", 3, True), ("2", 3, False), ("1", 1, False)])
def test_a_cluster_that_confirms_what_one_node_has_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, insync: str, brokers: int, said: bool
) -> None:
    settings = {"min.insync.replicas": insync, "default.replication.factor": "1"}
    cluster: Any = SimpleNamespace()
    topics = Topics(cluster)
    for _ in range(2):
        assert topics._replication_factor(range(brokers), settings) == brokers
    assert caplog.text.count("min.insync.replicas") == said


async def test_a_client_without_its_c_extension_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import msgbus_kafka.adapter

    adapter = KafkaAdapter(BrokerURL.parse("kafka://localhost"), KafkaOptions())
    adapter._warn_of_client()
    assert not caplog.text
    monkeypatch.setattr(msgbus_kafka.adapter, "client_findings", lambda: [SLOW_CLIENT_FINDING])
    for _ in range(2):
        adapter._warn_of_client()
    assert caplog.text.count("without its C extension") == 1
