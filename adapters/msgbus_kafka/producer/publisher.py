"""Publishing: one writer per topic, one attempt per message, one verdict each."""

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
"""Seconds without an answer after which the topic may be gone."""
CLOSE_TIMEOUT_SECONDS: Final = 3.0
"""Seconds that what is pending has when the adapter is closed."""


class Publisher:
    """Hands messages to their topics' writers and waits for their verdicts.

    An idempotent send never expires: given up and repeated, 100 publishes became 240 messages. So there is one attempt,
    as long as the caller's time.
    """

    def __init__(self, access: ConnectionSettings, topics: Topics) -> None:
        self._connection_settings = access
        self._topics = topics
        self._slots: dict[int, ProducerSlot] = {}
        self._writers: dict[Address, TopicWriter] = {}
        self._timeouts = CallTimeouts()
        self._checking: set[Address] = set()

    async def connect(self) -> None:
        """Raises BrokerUnavailable or AccessRefused."""
        await self._slot(BATCH_BYTES).ready()

    def publish(self, messages: Sequence[Outgoing], timeout: float) -> Coroutine[Any, Any, list[BrokerError | None]]:
        """See Adapter.publish. They are on their way at once; only their verdicts are waited for."""
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
        """Remove what lies at ``address`` under ``keys``, as publish() publishes."""
        now = asyncio.get_running_loop().time()
        call = PublishCall(len(keys), now + timeout)
        tombstones = [Tombstone(call, place, address, key) for place, key in enumerate(keys)]
        self._writer(address).put(tombstones)
        return self._results(call, tombstones, now)

    async def _results(self, call: PublishCall, items: Sequence[Record], now: float) -> list[BrokerError | None]:
        try:
            if not await self._timeouts.wait(call, min(call.end, now + DELETED_TOPIC_CHECK_SECONDS)):
                await self._check_deleted_topics(call, items)  # those that nobody looks for already
                await self._timeouts.wait(call, call.end)
        finally:
            self._timeouts.forget(call)
        return call.finish(items, _too_late) if call.pending else call.results

    async def _check_deleted_topics(self, call: PublishCall, items: Sequence[Record]) -> None:
        """Fail what waits for a topic that is gone: aiokafka would look for its leader without a pause, and in vain."""
        waiting = {item.message.address for item in items if not item.completed} - self._checking
        self._checking |= waiting
        try:
            async with asyncio.timeout_at(call.end):
                for address in await self._topics.missing(waiting):
                    self._writer(address).give_up()
        except (BrokerError, TimeoutError):
            return  # nobody knows: wait on
        finally:
            self._checking -= waiting

    def _writer(self, address: Address) -> TopicWriter:
        writer = self._writers.get(address)
        if writer is None:
            writer = self._writers[address] = TopicWriter(str(address), self._topics, self._slot)
        return writer

    def _slot(self, batch: int) -> ProducerSlot:
        line = self._slots.get(batch)
        if line is None:
            line = self._slots[batch] = ProducerSlot(self._connection_settings, batch)
        return line

    async def close(self) -> None:
        """Wait a little for what is pending, then fail it."""
        await asyncio.gather(*(writer.close(CLOSE_TIMEOUT_SECONDS) for writer in self._writers.values()))
        await asyncio.gather(*(line.close(CLOSE_TIMEOUT_SECONDS) for line in self._slots.values()))


def _too_late(item: Record) -> BrokerError:
    message = item.message
    if item.sent:
        return PublishUnknown(
            f"queue {message.address}: no answer before the deadline; message {message.id} may have arrived"
        )
    return BrokerUnavailable(f"queue {message.address}: not sent before the deadline")
