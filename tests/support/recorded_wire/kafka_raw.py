"""Kafka without msgbus: topics with settings, records as bytes, groups and what they have committed, by aiokafka."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from tests.support.recorded_wire.raw import GROUP, Raw, bytes_of, noted, sorted_records, varied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.recorded_wire.raw import Record

__all__ = ["KafkaRaw"]

OF_TOPIC: Final = 1
"""Kafka's number for where a setting comes from: it was set for this topic."""
KEY: Final = "msgbus-letter"
_PATIENCE: Final = 30.0


class KafkaRaw(Raw):
    """Topics with their settings and records; groups with their offsets, and with their members while they consume."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self._members: Record = {}

    async def dump(self) -> Record:
        async with self._admin() as admin:
            names = sorted(name for name in await admin.list_topics() if not name.startswith("__"))
            topics = await _topics(admin, names)
            groups = {group: await _offsets(admin, group) for group in await _groups(admin)}
        records = {name: await self._records(name, topics[name]["partitions"]) for name in names}
        return {"topics": topics, "records": records, "groups": groups, "members": self._members}

    async def while_consumed(self) -> None:
        async with self._admin() as admin:
            (answer,) = await admin.describe_consumer_groups([GROUP])
        _, _, state, kind, protocol, members, *_ = answer.groups[0]
        # Of a member its id, which begins with the client's, then in newer answers its static name, then the client's.
        clients = [next(name for name in member[1:3] if name) for member in members]
        self._members = {GROUP: {"state": state, "kind": kind, "protocol": protocol, "clients": clients}}

    async def restore(self, record: Record) -> None:
        async with self._admin() as admin:
            await admin.create_topics(
                [
                    NewTopic(name, about["partitions"], about["replicas"], topic_configs=about["settings"])
                    for name, about in record["topics"].items()
                ]
            )
        await self._write(record["records"])
        for group, topics in record["groups"].items():
            await self._commit(group, topics)

    async def _write(self, topics: Record) -> None:
        """Times are those of now: by the recorded ones the server would delete what is older than its retention."""
        producer: Any = AIOKafkaProducer(bootstrap_servers=self._servers)
        await producer.start()
        try:
            for topic, records in topics.items():
                for one in sorted(records, key=lambda one: int(one["offset"])):
                    key, value = (None if one[part] is None else bytes_of(one[part]) for part in ("key", "value"))
                    headers = [(name, bytes_of(text)) for name, text in one["headers"]]
                    sent = await producer.send_and_wait(
                        topic, value, key=key, headers=headers, partition=one["partition"]
                    )
                    assert sent.offset == one["offset"], f"{topic}: the offsets begin at {sent.offset}"
        finally:
            await producer.stop()

    async def _commit(self, group: str, topics: Record) -> None:
        offsets = {
            TopicPartition(topic, int(partition)): OffsetAndMetadata(offset, "")
            for topic, partitions in topics.items()
            for partition, offset in partitions.items()
        }
        if not offsets:
            return
        consumer: Any = AIOKafkaConsumer(bootstrap_servers=self._servers, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)
        finally:
            await consumer.stop()

    async def held(self, queue: str) -> int:
        async with self._reader() as reader, self._admin() as admin:
            (about,) = await admin.describe_topics([queue])
            partitions = [TopicPartition(queue, number) for number in range(len(about["partitions"]))]
            reader.assign(partitions)
            written: Mapping[Any, int] = await reader.end_offsets(partitions)
            committed = (await _offsets(admin, GROUP)).get(queue, {})
            return sum(written.values()) - sum(committed.values())

    @asynccontextmanager
    async def taking(self, dead_letter_queue: str) -> AsyncIterator[None]:
        taker: Any = AIOKafkaConsumer(
            dead_letter_queue,
            bootstrap_servers=self._servers,
            group_id=f"{dead_letter_queue}.taker",
            enable_auto_commit=False,
            heartbeat_interval_ms=500,
            partition_assignment_strategy=[type("Sticky", (StickyPartitionAssignor,), {})],  # it remembers in its class
        )
        await taker.start()
        try:
            async with asyncio.timeout(_PATIENCE):
                while not taker.assignment():
                    await asyncio.sleep(0.05)
            yield
        finally:
            await taker.stop()

    @staticmethod
    def comparable(record: Record) -> Record:
        by_chance = {name for name, records in record["records"].items() if any(_keyless(name, one) for one in records)}
        return {
            **record,
            "records": {
                name: sorted_records(_comparable(name, one) for one in records)
                for name, records in record["records"].items()
            },
            "groups": {
                group: {
                    topic: sum(partitions.values()) if topic in by_chance else partitions
                    for topic, partitions in topics.items()
                }
                for group, topics in record["groups"].items()
            },
        }

    @staticmethod
    def headers(record: Record, queue: str) -> list[dict[str, str]]:
        return [dict(one["headers"]) for one in record["records"][queue] if one["value"] is not None]

    @property
    def _servers(self) -> str:
        return self.server.url.removeprefix("kafka://")

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            reader: Any = AIOKafkaConsumer(
                bootstrap_servers=self._servers, enable_auto_commit=False, auto_offset_reset="earliest"
            )
            await reader.start()
            stack.push_async_callback(reader.stop)
            yield reader

    async def _records(self, topic: str, count: int) -> list[Record]:
        records: list[Record] = []
        async with self._reader() as reader:
            partitions = [TopicPartition(topic, number) for number in range(count)]
            reader.assign(partitions)
            ends = await reader.end_offsets(partitions)
            await reader.seek_to_beginning(*partitions)
            async with asyncio.timeout(_PATIENCE):
                while [one for one in partitions if await reader.position(one) < ends[one]]:
                    for some in (await reader.getmany(timeout_ms=200)).values():
                        records += map(_record, some)
        return sorted(records, key=lambda one: (one["partition"], one["offset"]))


async def _topics(admin: Any, names: list[str]) -> Record:
    described = {one["topic"]: one for one in await admin.describe_topics(names)}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    settings = {
        resource[3]: {row[0]: row[1] for row in resource[4] if row[3] == OF_TOPIC}
        for answer in answers
        for resource in answer.resources
    }
    return {
        name: {
            "partitions": len(described[name]["partitions"]),
            "replicas": len(described[name]["partitions"][0]["replicas"]),
            "settings": dict(sorted(settings[name].items())),
        }
        for name in names
    }


async def _groups(admin: Any) -> list[str]:
    return sorted(row[0] for row in await admin.list_consumer_groups())


async def _offsets(admin: Any, group: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for place, committed in sorted((await admin.list_consumer_group_offsets(group)).items()):
        if committed.offset >= 0:
            found.setdefault(place.topic, {})[str(place.partition)] = committed.offset
    return found


def _record(record: Any) -> Record:
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": noted(record.key),
        "headers": [(name, noted(value)) for name, value in record.headers],
        "value": noted(record.value),
    }


def _keyless(topic: str, record: Record) -> bool:
    return record["key"] is None and not topic.endswith(".dlq")


def _comparable(topic: str, record: Record) -> Record:
    key = record["key"]
    if topic.endswith(".dlq") and isinstance(key, str) and re.fullmatch("[0-9a-f]{32}", key):
        letter = dict(record["headers"]).get(KEY)
        key = {key: "<its msgbus-letter>", None: "<msgbus-letter of another>"}.get(letter, key)
    return {
        "partition": None if _keyless(topic, record) else record["partition"],
        "key": key,
        "headers": varied(record["headers"]),
        "value": record["value"],
    }
