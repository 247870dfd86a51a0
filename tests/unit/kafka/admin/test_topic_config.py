"""Settings of new topics, and the differences from those of an existing topic."""

from __future__ import annotations

from typing import Any

import pytest

from msgbus.adapter import QueueSpec
from msgbus.adapter.address import Address
from msgbus.adapter.headers import BODY_MAX_BYTES, HEADERS_MAX_BYTES
from msgbus_kafka.admin.topic_config import MAX_BATCH_BYTES, differences, new_topic, replication_factor
from msgbus_kafka.producer.producer_slot import BATCH_BYTES


def spec(**fields: Any) -> QueueSpec:
    return QueueSpec(**{"address": Address("orders"), **fields})


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
