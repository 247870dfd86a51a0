"""Publishing: one writer per topic, one attempt per message, one verdict each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka

from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, MessageTooLarge, PublishUnknown
from msgbus_kafka.failures import REFUSALS, reason
from msgbus_kafka.producers import BATCH, Line
from msgbus_kafka.topics import not_found
from msgbus_kafka.wire import header_list, key_bytes, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.message import Outgoing
    from msgbus_kafka.access import Access
    from msgbus_kafka.topics import Topics

__all__ = ["Publisher"]

SUSPICIOUS: Final = 1.0
"""Seconds without an answer after which the topic may be gone."""
CLOSE: Final = 3.0
"""Seconds that what is pending has when the adapter is closed."""

_Slot = asyncio.Future[Any] | BrokerError | None
"""A message's fate so far: not sent, under way, or refused."""


class Publisher:
    """Sends through aiokafka's producers and waits for their verdicts.

    An idempotent send never expires: given up and repeated, 100 publishes became 240 messages. So there is one attempt,
    as long as the caller's time.
    """

    def __init__(self, access: Access, topics: Topics) -> None:
        self._access = access
        self._topics = topics
        self._lines: dict[int, Line] = {}
        self._gates: dict[str, asyncio.Lock] = {}
        self._looking = False

    async def connect(self) -> None:
        """Raises BrokerUnavailable or AccessRefused."""
        await self._line(BATCH).ready()

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> list[BrokerError | None]:
        """See Adapter.publish."""
        end = asyncio.get_running_loop().time() + timeout
        slots: list[_Slot] = [None] * len(messages)
        topics: dict[str, list[int]] = {}
        for i, message in enumerate(messages):
            topics.setdefault(str(message.address), []).append(i)
        sending = [self._send_all(name, messages, places, slots, end) for name, places in topics.items()]
        if len(sending) == 1:
            await sending[0]
        else:  # one that is slow or missing holds up no other
            await asyncio.gather(*sending)
        if not await _settled(slots, min(end, asyncio.get_running_loop().time() + SUSPICIOUS)):
            await self._look_for_deleted(messages, slots, end)
            await _settled(slots, end)
        return [self._verdict(message, slot) for message, slot in zip(messages, slots, strict=True)]

    async def _send_all(
        self, name: str, messages: Sequence[Outgoing], places: Sequence[int], slots: list[_Slot], end: float
    ) -> None:
        """Hand the topic's messages to its producer, in the order of the calls; nothing of it raises."""
        refusal: BrokerError
        try:
            # The gate keeps the order. It also keeps thousands of tasks from send(), whose waiting is quadratic.
            async with asyncio.timeout_at(end), self._gates.setdefault(name, asyncio.Lock()):
                limit = await self._topics.limit(name)
                line = self._line(min(BATCH, limit))
                producer = await line.ready()
                for i in places:
                    slots[i] = await self._send(line, producer, messages[i], limit)
        except TimeoutError:
            refusal = BrokerUnavailable(f"queue {name}: not sent before the deadline")
        except BrokerError as error:
            refusal = error
        else:
            return
        for i in places:
            if slots[i] is None:
                slots[i] = refusal

    async def _send(self, line: Line, producer: Any, message: Outgoing, limit: int) -> _Slot:
        key, headers = key_bytes(message), header_list(message)
        bytes_ = size(key, message.body, headers)
        if bytes_ > limit:
            return MessageTooLarge(
                f"queue {message.address}: {bytes_} bytes with key and headers, {limit} is the limit"
            )
        try:
            future: asyncio.Future[Any] = await producer.send(
                str(message.address), message.body, key=key, headers=headers
            )
        except kafka.MessageSizeTooLargeError as error:
            return MessageTooLarge(f"queue {message.address}: {reason(error)}")
        except kafka.KafkaError as error:
            line.replace(producer)
            return _refused(message, error, uncertain=False)
        future.add_done_callback(lambda done: self._look(line, producer, message, done))
        return future

    def _look(self, line: Line, producer: Any, message: Outgoing, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is not None:
            # A refused batch has used up sequence numbers that aiokafka never gives back: every later batch of its
            # partition would be out of order.
            line.replace(producer)
            self._topics.forget(str(message.address))

    async def _look_for_deleted(self, messages: Sequence[Outgoing], slots: Sequence[_Slot], end: float) -> None:
        """Fail what waits for a topic that is gone: aiokafka would look for its leader without a pause, and in vain."""
        if self._looking:  # one of those who wait asks for them all
            return
        self._looking = True
        waiting = {message.address for message, slot in zip(messages, slots, strict=True) if _pending(slot)}
        try:
            async with asyncio.timeout_at(end):
                for address in await self._topics.missing(waiting):
                    self._topics.forget(str(address))
                    for line in self._lines.values():
                        line.give_up(str(address))
        except (BrokerError, TimeoutError):
            return  # nobody knows: wait on
        finally:
            self._looking = False

    def _verdict(self, message: Outgoing, slot: _Slot) -> BrokerError | None:
        if slot is None or isinstance(slot, BrokerError):
            return slot
        if not slot.done():
            return PublishUnknown(
                f"queue {message.address}: no answer before the deadline; message {message.id} may have arrived"
            )
        error = slot.exception()
        return None if error is None else _refused(message, error, uncertain=True)

    def _line(self, batch: int) -> Line:
        line = self._lines.get(batch)
        if line is None:
            line = self._lines[batch] = Line(self._access, batch)
        return line

    async def close(self) -> None:
        """Wait a little for what is pending, then fail it."""
        await asyncio.gather(*(line.close(CLOSE) for line in self._lines.values()))


async def _settled(slots: Sequence[_Slot], end: float) -> bool:
    """Whether all of them have an end by ``end``."""
    pending = [slot for slot in slots if isinstance(slot, asyncio.Future) and not slot.done()]
    if not pending:
        return True
    # wait(), since it leaves the futures alone: cancelling one of aiokafka's does not stop its message.
    _, late = await asyncio.wait(pending, timeout=max(0.0, end - asyncio.get_running_loop().time()))
    return not late


def _pending(slot: _Slot) -> bool:
    return isinstance(slot, asyncio.Future) and not slot.done()


def _refused(message: Outgoing, error: BaseException, *, uncertain: bool) -> BrokerError:
    text = f"queue {message.address}: {reason(error)}"
    ours: BrokerError
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        ours = not_found(str(message.address))
    elif isinstance(error, REFUSALS):
        ours = AccessRefused(text)
    elif isinstance(error, (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)):
        ours = MessageTooLarge(text)
    else:
        ours = BrokerUnavailable(text, uncertain=uncertain)
    ours.__cause__ = error
    return ours
