"""Questions to Kafka, by aiokafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.asked import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITIONS = 8
"""Partitions of every queue: msgbus' default."""


async def left(url: str, lying: str) -> int:
    """Implement :meth:`Asked.left`: records above the group's committed offsets."""
    admin = AIOKafkaAdminClient(bootstrap_servers=hosts(url))
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([lying])
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=hosts(url), group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(lying, one["partition"]) for one in topic["partitions"]])
        ends = await consumer.end_offsets(list(consumer.assignment()))
        return sum([end - (await consumer.committed(one) or 0) for one, end in ends.items()])
    finally:
        await consumer.stop()


async def sweep(url: str, queues: Sequence[str]) -> None:
    """Implement :meth:`Asked.sweep`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=hosts(url))
    await admin.start()
    try:
        ours = {*queues}
        found = [topic for topic in await admin.list_topics() if topic.partition(".")[0] in ours]
        if found:
            await admin.delete_topics(found)
    finally:
        await admin.close()


def hosts(url: str) -> str:
    """Return the URL's hosts as aiokafka wants them."""
    return url.removeprefix("kafka://")
