"""Dead-letter store: a compacted topic keyed by dead letter id, read without a group.

A tombstone removes its dead letter, and may be much later in the log. So a walk first reads the whole log and notes the
offset of each dead letter that has no tombstone.

The lock: the consumer that is assigned the topic's one partition in the group ``q.g.dlq.taker`` is the lock holder. It
only holds the partition; another client reads.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, cast

from aiokafka import TopicPartition
from tenacity import wait_fixed

from msgbus.adapter import DeadLetterStore
from msgbus.adapter.envelope import Delivery
from msgbus.adapter.headers import DEAD_LETTER_ID
from msgbus.adapter.retrying import wait_until
from msgbus.errors import BrokerError, BrokerUnavailable, DeadLetterLockLost, DeadLettersLocked, translate_errors
from msgbus_kafka.aiokafka_internals.consumer_state import has_assignment, has_joined
from msgbus_kafka.aiokafka_internals.shutdown import stop_consumer
from msgbus_kafka.clients import new_consumer
from msgbus_kafka.codec import decode_record
from msgbus_kafka.consumer.sticky_assignor import new_sticky_assignor
from msgbus_kafka.errors import ERROR_TABLE
from msgbus_kafka.history import READ_TIMEOUT_SECONDS, KafkaReader, open_reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.client_types.consumer import ConsumerClient
    from msgbus_kafka.client_types.records import FetchedRecord
    from msgbus_kafka.connection import ConnectionSettings
    from msgbus_kafka.producer.publisher import Publisher

__all__ = ["KafkaDeadLetterStore"]

LOCK_SESSION_TIMEOUT_SECONDS: Final = 6.0
"""Seconds after which the lock of a killed holder expires: the least that brokers allow by default."""
JOIN_TIMEOUT_SECONDS: Final = 15.0
"""Seconds to wait for the group's assignment; an empty group waits 3 s for members (a broker's default)."""
REMOVE_TIMEOUT_SECONDS: Final = 30.0
"""Seconds to remove dead letters: the default timeout of a publish."""
POLL_INTERVAL_SECONDS: Final = 0.05


class KafkaDeadLetterStore(DeadLetterStore):
    """The dead letters in the queue ``address``."""

    def __init__(self, access: ConnectionSettings, topics: Topics, publisher: Publisher, address: Address) -> None:
        self._access = access
        self._topics = topics
        self._publisher = publisher
        self._address = address
        self._name = str(address)
        self._partition = TopicPartition(self._name, 0)
        self._reader: KafkaReader | None = None
        self._lock_holder: ConsumerClient | None = None
        self._offsets: list[int] = []

    async def count(self) -> tuple[int, bool]:
        """Implement :meth:`DeadLetterStore.count` by reading the log."""
        return len(await self._index()), True

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.look`.

        Cursors are offsets. A walk does not see what arrives after its start.
        """
        if not isinstance(after, int):
            self._offsets = await self._index()
        first = bisect_right(self._offsets, after) if isinstance(after, int) else 0
        wanted = self._offsets[first : first + limit]
        page = [self._letter(record) for record in await self._records(wanted)]
        return page, wanted[-1] if len(self._offsets) > first + limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.take`."""
        if self._lock_holder is None:
            await self._join()
        elif not self._owns_lock:
            raise DeadLetterLockLost(
                f"queue {self._name}: the dead-letter lock was lost; nothing was removed; start again"
            )
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Implement :meth:`DeadLetterStore.remove`: publish a tombstone for each, confirmed by all in-sync replicas."""
        if not self._owns_lock:
            raise DeadLetterLockLost(
                f"queue {self._name}: the dead-letter lock was lost; nothing was removed; start again"
            )
        if nameless := [letter.message.origin for letter in letters if letter.receipt is None]:
            raise BrokerError(
                f"queue {self._name}: {nameless[0]} was not published by msgbus and has no key, so no tombstone can "
                "remove it: let the topic's retention do it"
            )
        keys = [cast("bytes", letter.receipt) for letter in letters]
        for refusal in filter(
            None, await self._publisher.publish_tombstones(self._address, keys, REMOVE_TIMEOUT_SECONDS)
        ):
            raise refusal

    async def close(self) -> None:
        """Implement :meth:`DeadLetterStore.close`.

        Reading changes nothing on the server, so there is nothing to give back.
        """
        reader, self._reader = self._reader, None
        holder, self._lock_holder = self._lock_holder, None
        if reader is not None:
            await reader.close()
        if holder is not None:
            await stop_consumer(holder, 2.0)

    @property
    def _owns_lock(self) -> bool:
        return self._lock_holder is not None and self._partition in self._lock_holder.assignment()

    async def _join(self) -> None:
        await self._topics.state(self._name)
        holder = new_consumer(
            self._access,
            group_id=f"{self._name}.taker",
            session_timeout_ms=int(LOCK_SESSION_TIMEOUT_SECONDS * 1000),
            heartbeat_interval_ms=500,
            # The holder keeps the partition when another joins.
            partition_assignment_strategy=[new_sticky_assignor()],
        )
        holder.subscribe([self._name])
        try:
            with translate_errors(ERROR_TABLE, f"queue {self._name}: locking its dead letters"):
                await holder.start()
            await self._until_assigned(holder)
        except BaseException:
            await stop_consumer(holder, 2.0)
            raise
        self._lock_holder = holder

    async def _until_assigned(self, holder: ConsumerClient) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + JOIN_TIMEOUT_SECONDS

        async def assigned() -> bool:
            if self._partition in holder.assignment():
                return True
            if (has_joined(holder) and has_assignment(holder)) or loop.time() >= end:
                raise DeadLettersLocked(
                    f"queue {self._name}: its dead letters are locked by another process; try again later"
                )
            return False

        await wait_until(assigned, wait=wait_fixed(POLL_INTERVAL_SECONDS))
        holder.pause(self._partition)  # this consumer is the lock; another client reads

    # Reading.

    async def _index(self) -> list[int]:
        """Return the offsets of the dead letters that have no tombstone."""
        await self._topics.state(self._name)
        reader = await self._ready()
        at: dict[object, int] = {}
        with translate_errors(ERROR_TABLE, f"queue {self._name}: reading its dead letters"):
            end = (await reader.client.end_offsets([self._partition]))[self._partition]
            await reader.client.seek_to_beginning(self._partition)
            async for record in self._until(end):
                if record.value is None:
                    at.pop(record.key, None)
                else:
                    at[record.key if record.key is not None else record.offset] = record.offset
        return sorted(at.values())

    async def _records(self, offsets: Sequence[int]) -> list[FetchedRecord]:
        if not offsets:
            return []
        reader, wanted = await self._ready(), set(offsets)
        with translate_errors(ERROR_TABLE, f"queue {self._name}: reading its dead letters"):
            reader.client.seek(self._partition, offsets[0])
            return [record async for record in self._until(offsets[-1] + 1) if record.offset in wanted]

    async def _until(self, end: int) -> AsyncIterator[FetchedRecord]:
        """Yield records before offset ``end``. Compaction may leave gaps, also at the end."""
        reader = await self._ready()
        loop = asyncio.get_running_loop()
        last = loop.time()
        while (position := await reader.client.position(self._partition)) < end:
            batch = await reader.fetch(self._partition)
            for record in batch.get(self._partition, ()):
                if record.offset < end:
                    yield record
            if batch or await reader.client.position(self._partition) != position:
                last = loop.time()
            elif loop.time() - last > READ_TIMEOUT_SECONDS:
                raise BrokerUnavailable(f"queue {self._name}: nothing more was read for {READ_TIMEOUT_SECONDS:g} s")

    async def _ready(self) -> KafkaReader:
        if self._reader is None:
            self._reader = await open_reader(
                self._access, [self._partition], f"queue {self._name}: reading its dead letters"
            )
        return self._reader

    def _letter(self, record: FetchedRecord) -> Delivery:
        made = decode_record(record, self._address, self._address.group)
        letter = made.system.get(DEAD_LETTER_ID)
        key = record.key if record.key is not None or letter is None else letter.encode()
        return Delivery(made, self._address, self, key)
