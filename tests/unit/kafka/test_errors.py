"""Kafka's error codes and exceptions as msgbus errors."""

from __future__ import annotations

import pytest
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from msgbus.errors import (
    AccessRefused,
    BrokerUnavailable,
    ConfigurationError,
    InvalidName,
    MsgbusError,
    QueueConflict,
    Unsupported,
)
from msgbus_kafka.errors import FetchRefused, concerns_one_partition, error_for_code


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


@pytest.mark.parametrize(
    ("error", "one"),
    [
        (kafka.CorruptRecordException(), True),
        (kafka.UnsupportedCodecError(), True),
        (kafka.RecordTooLargeError(), True),
        (kafka.TopicAuthorizationFailedError("q"), True),
        (FetchRefused(TopicPartition("bad", 0), "x"), True),
        (kafka.UnknownError(), True),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), True),
        (AssertionError(), True),
        (RuntimeError(), True),
        (IndexError(), True),
        (kafka.KafkaConnectionError(), False),
        (kafka.NodeNotReadyError(), False),
        (kafka.GroupAuthorizationFailedError(), False),
        (kafka.SaslAuthenticationFailed(), False),
        (kafka.ConsumerStoppedError(), False),
        (kafka.IllegalStateError(), False),
        (OSError(), False),
    ],
)
def test_what_concerns_one_partition_is_told_from_what_concerns_all(error: Exception, one: bool) -> None:
    assert concerns_one_partition(error) is one
