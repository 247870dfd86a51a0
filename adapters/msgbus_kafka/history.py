"""Reader of a topic's partitions between two offsets, without a consumer group."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from msgbus.adapter import HistoryReader
from msgbus.adapter.envelope import Delivery
from msgbus.errors import BrokerError, BrokerUnavailable, ConfigurationError, translate_errors
from msgbus_kafka.admin.offsets import log_bounds, offsets_at
from msgbus_kafka.aiokafka_internals.fetcher import install_fetcher
from msgbus_kafka.aiokafka_internals.shutdown import stop_consumer
from msgbus_kafka.clients import new_consumer
from msgbus_kafka.codec import decode_record
from msgbus_kafka.errors import ACCESS_ERRORS, ERROR_TABLE, FetchRefused, concerns_one_partition, describe_unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.adapter import Position
    from msgbus.adapter.address import Address
    from msgbus_kafka.admin.client import AdminClient
    from msgbus_kafka.admin.offsets import LogBounds
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.records import Fetched, FetchedRecord
    from msgbus_kafka.connection import ConnectionSettings

__all__ = [
    "READ_TIMEOUT_SECONDS",
    "KafkaHistoryReader",
    "KafkaReader",
    "open_reader",
    "parse_origin",
    "resolve_position",
]

READ_TIMEOUT_SECONDS: Final = 30.0
"""Seconds without a record of a log that has more; then reading fails."""
FETCH_TIMEOUT_MS: Final = 200
"""Milliseconds of one fetch."""
MAX_RECORDS_PER_FETCH: Final = 1000
"""Records of one fetch: parsed in one go, 1.4 us each, while nothing else runs."""


async def open_reader(access: ConnectionSettings, partitions: Sequence[TopicPartition], purpose: str) -> KafkaReader:
    """Open a reader of these partitions. Raises BrokerUnavailable or AccessRefused."""
    client = new_consumer(access, auto_offset_reset="earliest", fetch_max_wait_ms=100)
    try:
        with translate_errors(ERROR_TABLE, purpose):
            await client.start()
    except BaseException:
        await stop_consumer(client, 2.0)
        raise
    client.assign(partitions)
    return KafkaReader(client, purpose)


class KafkaReader:
    """An AIOKafkaConsumer of some partitions without a group. It names the record that it cannot read."""

    def __init__(self, client: ConsumerClient, purpose: str) -> None:
        self.client: Final = client
        self._purpose = purpose
        self._responses = install_fetcher(client, asyncio.Event())

    async def fetch(self, *partitions: TopicPartition, limit: int = MAX_RECORDS_PER_FETCH) -> Fetched:
        """Return the records that arrive within 0.2 s, at most ``limit``.

        Raises BrokerError naming a record that cannot be read, after everything before it was returned. The positions
        stay before it.
        """
        before = {one: await self.client.position(one) for one in partitions}
        try:
            return await self._fetch(*partitions, limit=limit)
        except Exception as error:
            if not _concerns_a_record(error):
                raise
            for one, offset in before.items():
                self.client.seek(one, offset)
            for one, offset in before.items():
                if found := await self._isolate(one, offset, limit):
                    return found
            return {}

    async def _fetch(self, *partitions: TopicPartition, limit: int) -> Fetched:
        fetched: Fetched = await self.client.getmany(*partitions, timeout_ms=FETCH_TIMEOUT_MS, max_records=limit)
        return fetched

    async def _isolate(self, partition: TopicPartition, offset: int, limit: int) -> Fetched:
        """Return what can be read of one partition, in halves down to single records, or raise."""
        while True:
            try:
                return await self._fetch(partition, limit=limit)
            except Exception as error:
                if not _concerns_a_record(error):
                    raise
                self.client.seek(partition, offset)
                if isinstance(error, UnicodeDecodeError) and self._responses.read_leniently(partition):
                    continue
                if limit == 1 or isinstance(error, FetchRefused):
                    place = f"{partition.topic}-{partition.partition}@{offset}"
                    raise BrokerError(
                        f"{self._purpose}: the record at {place} or just behind it {describe_unreadable(error)}; begin "
                        'behind it, or, for a codec, run pip install "msgbus[kafka]"'
                    ) from error
                limit //= 2

    async def close(self) -> None:
        """Close the connections. Never raises."""
        await stop_consumer(self.client, 2.0)


def _concerns_a_record(error: Exception) -> bool:
    return concerns_one_partition(error) and not isinstance(error, ACCESS_ERRORS)


class KafkaHistoryReader(HistoryReader):
    """The records between two offsets of each partition."""

    def __init__(
        self,
        access: ConnectionSettings,
        address: Address,
        group: str,
        begins: Mapping[int, int],
        ends: Mapping[int, int],
    ) -> None:
        """Read the partitions that are in both ``begins`` and ``ends``; an end is exclusive."""
        self._access = access
        self._address = address
        self._group = group
        meant = sorted(one for one in begins.keys() & ends.keys() if begins[one] < ends[one])
        self._begins = {TopicPartition(str(address), one): begins[one] for one in meant}
        self._ends = {TopicPartition(str(address), one): ends[one] for one in meant}
        self._reader: KafkaReader | None = None

    async def read(self, limit: int) -> Sequence[Delivery]:
        """Implement :meth:`HistoryReader.read`."""
        with translate_errors(ERROR_TABLE, f"queue {self._address}: reading its history"):
            return await self._read(limit) if self._begins else ()

    async def _read(self, limit: int) -> Sequence[Delivery]:
        reader = await self._ready()
        loop = asyncio.get_running_loop()
        last, before = loop.time(), -1
        while unread := [one for one, end in self._ends.items() if await reader.client.position(one) < end]:
            batch = await reader.fetch(*unread, limit=limit)
            records = [record for one, some in batch.items() for record in some if record.offset < self._ends[one]]
            if records:
                return [self._delivery(record) for record in records]
            # Compaction leaves gaps, at the end as well: positions move on without records.
            reached = sum([await reader.client.position(one) for one in self._ends])
            if reached != before:
                last, before = loop.time(), reached
            elif loop.time() - last > READ_TIMEOUT_SECONDS:
                raise BrokerUnavailable(f"queue {self._address}: nothing more was read for {READ_TIMEOUT_SECONDS:g} s")
        return ()

    async def _ready(self) -> KafkaReader:
        if self._reader is None:
            self._reader = await open_reader(
                self._access, list(self._begins), f"queue {self._address}: reading its history"
            )
            for partition, offset in self._begins.items():
                self._reader.client.seek(partition, offset)
        return self._reader

    def _delivery(self, record: FetchedRecord) -> Delivery:
        return Delivery(decode_record(record, self._address, self._group), self._address, self, None, record.offset)

    async def close(self) -> None:
        """Implement :meth:`HistoryReader.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()


_ORIGIN: Final = re.compile(r"(?:(?P<topic>.+)-(?P<partition>[0-9]{1,9})@)?(?P<offset>[0-9]{1,18})", re.ASCII)


async def resolve_position(cluster: AdminClient, topics: Topics, name: str, position: Position) -> dict[int, int]:
    """Return an offset between the log's bounds for each partition that ``position`` names.

    Raises QueueNotFound, BrokerUnavailable, or ConfigurationError if ``position`` is not one of this queue.
    """
    leaders = (await topics.state(name)).leaders
    bounds = await log_bounds(cluster, name, leaders)
    if isinstance(position, datetime):
        found = await offsets_at(cluster, name, leaders, max(0, round(position.timestamp() * 1000)))
        return {one: offset if offset >= 0 else bounds[one][1] for one, offset in found.items()}
    if position in {"oldest", "newest"}:
        return {one: kept if position == "oldest" else end for one, (kept, end) in bounds.items()}
    return parse_origin(name, position, bounds)


def parse_origin(name: str, position: str, bounds: LogBounds) -> dict[int, int]:
    """Return the offsets for ``topic-partition@offset``, or for an offset alone, which means every partition."""
    found = _ORIGIN.fullmatch(position)
    if found is None or found["topic"] not in {None, name}:
        raise ConfigurationError(
            f"queue {name}: {position!r} is not a position in it: give oldest, newest, an offset, or {name}-0@17"
        )
    if found["partition"] is not None and int(found["partition"]) not in bounds:
        raise ConfigurationError(f"queue {name}: {position!r}: it has {len(bounds)} partitions, counted from 0")
    meant = bounds if found["partition"] is None else [int(found["partition"])]
    return {one: min(max(int(found["offset"]), bounds[one][0]), bounds[one][1]) for one in meant}
