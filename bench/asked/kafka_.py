"""Kafka, asked by aiokafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bench.asked import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITIONS = 8
"""Of every queue, as msgbus makes one."""


async def left(url: str, lying: str) -> int:
    """See Asked: records above what the group has committed."""
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
    """See Asked."""
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
    """The URL in the client's words."""
    return url.removeprefix("kafka://")
