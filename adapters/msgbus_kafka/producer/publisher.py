"""Publisher: one writer per topic, one attempt per message, one publish result each."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from msgbus.adapter.publish_calls import CallTimeouts, PublishCall
from msgbus.errors import BrokerError, BrokerUnavailable, PublishUnknown
from msgbus_kafka.producer.producer_slot import BATCH_BYTES, ProducerSlot
from msgbus_kafka.producer.record import Record, Tombstone
from msgbus_kafka.producer.topic_writer import TopicWriter

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus_kafka.admin.topics import Topics
    from msgbus_kafka.connection import ConnectionSettings

__all__ = ["Publisher"]

DELETED_TOPIC_CHECK_SECONDS: Final = 1.0
"""Seconds without an answer after which publish() checks whether the topic was deleted."""
CLOSE_TIMEOUT_SECONDS: Final = 3.0
"""Seconds for pending messages when the adapter is closed."""


class Publisher:
    """Hands messages to the writers of their topics and waits for the publish results.

    An idempotent send never expires: 100 publishes that were given up and repeated became 240 messages. So there is one
    attempt, which lasts as long as the caller's timeout.
    """

    def __init__(self, access: ConnectionSettings, topics: Topics) -> None:
        self._connection_settings = access
        self._topics = topics
        self._slots: dict[int, ProducerSlot] = {}
        self._writers: dict[Address, TopicWriter] = {}
        self._timeouts = CallTimeouts()
        self._checking: set[Address] = set()
        self._closed = False

    async def connect(self) -> None:
        """Connect. Raises BrokerUnavailable or AccessRefused."""
        self._closed = False
        await self._slot(BATCH_BYTES).ready()

    def publish(self, messages: Sequence[Outgoing], timeout: float) -> Coroutine[Any, Any, list[BrokerError | None]]:
        """Implement :meth:`Adapter.publish`.

        The messages are sent at once; the coroutine waits for their publish results.
        """
        now = asyncio.get_running_loop().time()
        call = PublishCall(len(messages), now + timeout)
        if len(messages) == 1:
            items = [Record(call, 0, messages[0])]
            self._writer(messages[0].address).put(items)
        else:
            items = [Record(call, place, message) for place, message in enumerate(messages)]
            for address, of_one in groupby(items, lambda item: item.message.address):
                self._writer(address).put(of_one)
        return self._results(call, items, now)

    def publish_tombstones(
        self, address: Address, keys: Sequence[bytes], timeout: float
    ) -> Coroutine[Any, Any, list[BrokerError | None]]:
        """Remove the records at ``address`` with these ``keys``, as publish() publishes."""
        now = asyncio.get_running_loop().time()
        call = PublishCall(len(keys), now + timeout)
        tombstones = [Tombstone(call, place, address, key) for place, key in enumerate(keys)]
        self._writer(address).put(tombstones)
        return self._results(call, tombstones, now)

    async def _results(self, call: PublishCall, items: Sequence[Record], now: float) -> list[BrokerError | None]:
        try:
            if not await self._timeouts.wait(call, min(call.end, now + DELETED_TOPIC_CHECK_SECONDS)):
                await self._check_deleted_topics(call, items)  # except topics that are being checked already
                await self._timeouts.wait(call, call.end)
        finally:
            self._timeouts.forget(call)
        return call.finish(items, _too_late) if call.pending else call.results

    async def _check_deleted_topics(self, call: PublishCall, items: Sequence[Record]) -> None:
        """Fail the messages that wait for a deleted topic: aiokafka would look for its leader until their deadline."""
        waiting = {item.message.address for item in items if not item.completed} - self._checking
        self._checking |= waiting
        try:
            async with asyncio.timeout_at(call.end):
                for address in await self._topics.missing(waiting):
                    self._writer(address).give_up()
        except (BrokerError, TimeoutError):
            return  # no broker answers: go on waiting
        finally:
            self._checking -= waiting

    def _writer(self, address: Address) -> TopicWriter:
        writer = self._writers.get(address)
        if writer is None:
            writer = self._writers[address] = TopicWriter(str(address), self._topics, self._slot)
        return writer

    def _slot(self, batch: int) -> ProducerSlot:
        slot = self._slots.get(batch)
        if slot is None and self._closed:
            raise BrokerUnavailable(f"kafka: {self._connection_settings.servers}: the connection was closed")
        if slot is None:
            slot = self._slots[batch] = ProducerSlot(self._connection_settings, batch)
        return slot

    async def close(self) -> None:
        """Wait for pending messages for a bounded time, then fail them. No publish connects again until connect()."""
        self._closed = True
        await asyncio.gather(*(writer.close(CLOSE_TIMEOUT_SECONDS) for writer in self._writers.values()))
        slots, self._slots = self._slots, {}
        await asyncio.gather(*(slot.close(CLOSE_TIMEOUT_SECONDS) for slot in slots.values()))


def _too_late(item: Record) -> BrokerError:
    message = item.message
    if item.sent:
        return PublishUnknown(
            f"queue {message.address}: no answer before the deadline; message {message.id} may have arrived"
        )
    return BrokerUnavailable(f"queue {message.address}: not sent before the deadline")
