"""Publishing: messages awaited at the same time share one pipeline; one pipeline at a time, so order is kept.

What a broken connection left open is known, and repeated by a script that adds nothing twice: see `repeating`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.errors import BrokerUnavailable, PublishUnknown, QueueNotFound
from msgbus_redis.connection import ANSWER, Line, ours
from msgbus_redis.repeating import TIME, FirstTries, add_missing
from msgbus_redis.wire import append, size, stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msgbus.errors import BrokerError
    from msgbus.message import Outgoing
    from msgbus_redis.connection import Command, Place

__all__ = ["Publisher"]

MESSAGES: Final = 500
"""Most messages of a pipeline: 38,400 msg/s against 18,600 with 10 and 6,100 one by one."""
BYTES: Final = 1024 * 1024
"""A pipeline is full when it has so many; a larger message goes alone."""

GIVEN_UP: Final = 0.2
"""Seconds after the last deadline of a pipeline at which its connection is closed: each caller has its verdict then."""


class Call:
    """One call of publish(): its verdicts, as they come."""

    __slots__ = ("done", "end", "open", "verdicts")

    def __init__(self, messages: int, end: float) -> None:
        self.end = end
        self.open = messages
        self.verdicts: list[BrokerError | None] = [None] * messages
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, place: int, verdict: BrokerError | None) -> None:
        """The verdict of one message."""
        if self.done.done():
            return
        self.verdicts[place] = verdict
        self.open -= 1
        if not self.open:
            self.done.set_result(None)


class Item:
    """One message on its way."""

    __slots__ = ("call", "command", "key", "message", "place", "sent", "settled", "tried")

    def __init__(self, call: Call, place: int, message: Outgoing, key: bytes) -> None:
        self.call = call
        self.place = place
        self.message = message
        self.key = key
        self.command = append(key, message)
        self.sent: bytes | None = None
        """From which entry id on to look for it, since this try began."""
        self.tried: bytes | None = None
        """The same of the first of earlier tries that may have arrived."""
        self.settled = False

    def settle(self, verdict: BrokerError | None) -> None:
        """Its verdict."""
        self.settled = True
        self.call.settle(self.place, verdict)


class Publisher:
    """One writer and its connection."""

    def __init__(self, place: Place, prefix: str) -> None:
        self._place = place
        self._prefix = prefix
        self._line = Line(place)
        self._first = FirstTries()
        self._waiting: deque[Item] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> list[BrokerError | None]:
        """See Adapter."""
        if not messages:
            return []
        loop = asyncio.get_running_loop()
        call = Call(len(messages), loop.time() + timeout)
        items = [
            Item(call, place, message, stream(self._prefix, message.address)) for place, message in enumerate(messages)
        ]
        self._waiting.extend(items)
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write(), name="msgbus redis publisher")
        try:
            # Not the future itself: a cancelled caller must not disturb those who share its pipeline.
            await asyncio.wait({call.done}, timeout=timeout)
        finally:
            if not call.done.done():
                call.done.cancel()  # what was not sent yet is not sent any more
        for item in items:
            if not item.settled:
                call.verdicts[item.place] = self._too_late(item, timeout)
        return call.verdicts

    async def close(self) -> None:
        """Let go of the connection; what is on its way ends as uncertain."""
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.cancel()
            await asyncio.wait({writer}, timeout=1.0)
        for item in self._waiting:
            item.settle(BrokerUnavailable(f"{self._doing(item)}: the connection was closed"))
        self._waiting.clear()
        await self._line.close()

    async def _write(self) -> None:
        while batch := self._batch():
            try:
                await self._send(batch)
            except Exception as error:  # noqa: BLE001 - one verdict for everybody, or they would wait for their deadline
                self._fail(batch, error)
            except asyncio.CancelledError:
                self._fail(batch, BrokerUnavailable(f"{self._place}: the connection was closed"))
                raise

    def _batch(self) -> list[Item]:
        batch: list[Item] = []
        weight = 0
        while self._waiting and len(batch) < MESSAGES:
            item = self._waiting[0]
            weight += size(item.command)
            if batch and weight > BYTES:
                break
            self._waiting.popleft()
            if not item.call.done.done():
                batch.append(item)
        return batch

    async def _send(self, batch: Sequence[Item]) -> None:
        now = asyncio.get_running_loop().time
        if await self._line.ready():
            (answer,) = await self._line.run([TIME], ANSWER)
            self._first.connected(answer, now())
        batch = [item for item in batch if not item.call.done.done()]
        began = self._first.began(now())
        for item in batch:
            item.sent, item.tried = began, self._first.of(item.message)
        replies: list[Any] = []
        within = max((item.call.end for item in batch), default=0.0) - now()
        pieces = list(_pieces(batch))
        try:
            if pieces:
                await self._line.run([_command(piece) for piece in pieces], max(within, 0.0) + GIVEN_UP, replies)
        finally:
            for piece, reply in zip(pieces, replies, strict=False):
                self._settle(piece, reply)

    def _settle(self, piece: Sequence[Item], reply: Any) -> None:
        each = reply if isinstance(reply, list) else [reply] * len(piece)
        for item, answer in zip(piece, each, strict=True):
            item.settle(self._verdict(item, answer))

    def _verdict(self, item: Item, reply: Any) -> BrokerError | None:
        if reply is None:
            return QueueNotFound(f"queue {item.message.address} does not exist: create_queue() makes it")
        if isinstance(reply, ResponseError):
            return ours(reply, self._doing(item))
        return None

    def _fail(self, batch: Sequence[Item], error: Exception) -> None:
        for item in batch:
            if item.settled:
                continue
            verdict = ours(error, self._doing(item))
            if isinstance(verdict, BrokerUnavailable):
                verdict = BrokerUnavailable(str(verdict), uncertain=item.sent is not None)
                verdict.__cause__ = error
                if item.sent is not None:
                    self._first.open(item.message, item.sent)
            item.settle(verdict)

    def _too_late(self, item: Item, timeout: float) -> BrokerError:
        if item.sent:
            return PublishUnknown(
                f"{self._doing(item)}: message {item.message.id} was not confirmed within {timeout:.3g} s; "
                "it may have arrived"
            )
        return BrokerUnavailable(f"{self._doing(item)}: not sent within {timeout:.3g} s")

    def _doing(self, item: Item) -> str:
        return f"{self._place}: publishing to queue {item.message.address}"


def _pieces(batch: Iterable[Item]) -> Iterator[list[Item]]:
    """What goes out as one command: a message, or neighbours that are repeated into the same stream."""
    for tried, items in groupby(batch, lambda item: item.tried and item.message.address):
        if tried is None:
            yield from ([item] for item in items)
        else:
            yield list(items)


def _command(piece: Sequence[Item]) -> Command:
    tried = [item.tried for item in piece if item.tried is not None]
    if not tried:
        return piece[0].command
    first = min(tried, key=lambda since: int(since.partition(b"-")[0]))
    return add_missing(piece[0].key, first, [item.command for item in piece])
