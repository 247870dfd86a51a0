"""An accumulator without a client, and the writers that fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition

from msgbus_kafka.producer.partition_writer import PartitionWriter
from tests.support.kafka.observed_records import ended

if TYPE_CHECKING:
    from msgbus_kafka.aiokafka_internals.accumulator import Accumulator, Batch

ONE, OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1)
BATCH_BYTES = 1000
BATCH_TIMEOUT_SECONDS = 0.05
LARGE_BODY = b"x" * 600
"""The body of a record that no other goes into one batch with."""


class Leaders:
    """As metadata has them: node 1 leads whatever is not said otherwise."""

    def __init__(self) -> None:
        self.of: dict[TopicPartition, int | None] = {}

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.of.get(partition, 1)


def writer(batches: Accumulator, partition: TopicPartition = ONE) -> PartitionWriter:
    """Goes on as soon as it may."""
    return PartitionWriter(batches, partition, ended, lambda itself: itself.resume())


def taken(batches: Accumulator) -> dict[TopicPartition, Batch]:
    """What the sender would send to the only node."""
    nodes, _ = batches.take((), ())
    return nodes.get(1, {})
