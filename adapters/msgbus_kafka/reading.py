"""Reading a topic's partitions from offset to offset, without a group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from msgbus.adapter import Stretch
from msgbus.errors import BrokerUnavailable, translated
from msgbus.message import Delivery
from msgbus_kafka.failures import TABLE
from msgbus_kafka.stopping import stop_consumer
from msgbus_kafka.taming import tame
from msgbus_kafka.wire import arrived

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgbus.names import Address
    from msgbus_kafka.access import Access

__all__ = ["READ", "KafkaStretch", "opened"]

READ: Final = 30.0
"""Seconds without anything of a log that should have more."""
FETCH: Final = 200
"""Milliseconds of one fetch."""


async def opened(access: Access, partitions: Sequence[TopicPartition], doing: str) -> Any:
    """An AIOKafkaConsumer of these partitions and of no group. Raises BrokerUnavailable or AccessRefused."""
    reader: Any = AIOKafkaConsumer(
        **access.settings(),
        client_id="msgbus",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    tame(reader._client, access)  # noqa: SLF001
    try:
        with translated(TABLE, doing):
            await reader.start()
    except BaseException:
        await stop_consumer(reader, 2.0)
        raise
    reader.assign(partitions)
    return reader


class KafkaStretch(Stretch):
    """What lies between two offsets in each partition."""

    def __init__(
        self, access: Access, address: Address, group: str, begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        """Partitions that are only in one of ``begins`` and ``ends`` (exclusive) have no part in it."""
        self._access = access
        self._address = address
        self._group = group
        meant = sorted(one for one in begins.keys() & ends.keys() if begins[one] < ends[one])
        self._begins = {TopicPartition(str(address), one): begins[one] for one in meant}
        self._ends = {TopicPartition(str(address), one): ends[one] for one in meant}
        self._reader: Any = None

    async def read(self, limit: int) -> Sequence[Delivery]:
        """See Stretch."""
        with translated(TABLE, f"queue {self._address}: reading its history"):
            return await self._read(limit) if self._begins else ()

    async def _read(self, limit: int) -> Sequence[Delivery]:
        reader = await self._ready()
        loop = asyncio.get_running_loop()
        last, before = loop.time(), -1
        while unread := [one for one, end in self._ends.items() if await reader.position(one) < end]:
            batch: Mapping[Any, Sequence[Any]] = await reader.getmany(*unread, timeout_ms=FETCH, max_records=limit)
            records = [record for one, some in batch.items() for record in some if record.offset < self._ends[one]]
            if records:
                return [self._delivery(record) for record in records]
            # Compaction leaves gaps, at the end as well: positions move on without records.
            reached = sum([await reader.position(one) for one in self._ends])
            if reached != before:
                last, before = loop.time(), reached
            elif loop.time() - last > READ:
                raise BrokerUnavailable(f"queue {self._address}: nothing more was read for {READ:g} s")
        return ()

    async def _ready(self) -> Any:
        if self._reader is None:
            self._reader = await opened(self._access, list(self._begins), f"queue {self._address}: reading its history")
            for partition, offset in self._begins.items():
                self._reader.seek(partition, offset)
        return self._reader

    def _delivery(self, record: Any) -> Delivery:
        return Delivery(arrived(record, self._address, self._group), self._address, self, None, record.offset)

    async def close(self) -> None:
        """See Stretch."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await stop_consumer(reader, 2.0)
