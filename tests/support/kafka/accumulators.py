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
"""Body of a record that fills a batch alone."""


class Leaders:
    """Leaders of partitions; node 1 by default."""

    def __init__(self) -> None:
        self.of: dict[TopicPartition, int | None] = {}

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.of.get(partition, 1)


def writer(batches: Accumulator, partition: TopicPartition = ONE) -> PartitionWriter:
    """Make a writer that resumes as soon as it can."""
    return PartitionWriter(batches, partition, ended, lambda itself: itself.resume())


def taken(batches: Accumulator) -> dict[TopicPartition, Batch]:
    """Take the batches that the sender would send to node 1."""
    nodes, _ = batches.take((), ())
    return nodes.get(1, {})
