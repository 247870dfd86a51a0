"""Publishing: messages awaited at the same time share one pipeline; one pipeline at a time, so order is kept.

What a broken connection left open is known, and repeated by a script that adds nothing twice: see `repeating`.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.adapter.batch_writer import Writer
from msgbus.adapter.publish_calls import Call, Item, Waiting
from msgbus.errors import BrokerUnavailable, PublishUnknown, QueueNotFound
from msgbus_redis.codec import append
from msgbus_redis.connection.connection import ANSWER, Line
from msgbus_redis.errors import ours
from msgbus_redis.keys import stream
from msgbus_redis.publisher.deduplication import TIME, FirstTries, add_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.server import Place

__all__ = ["Publisher"]

MESSAGES: Final = 500
"""Most messages of a pipeline: 38,400 msg/s against 18,600 with 10 and 6,100 one by one."""
BYTES: Final = 1024 * 1024
"""A pipeline is full when its bodies have so many; a larger message goes alone."""

GIVEN_UP: Final = 0.2
"""Seconds after the last deadline of a pipeline at which its connection is closed: each caller has its verdict then."""


class Sending(Item):
    """One message on its way."""

    __slots__ = ("command", "key", "sent", "tried")

    def __init__(self, call: Call, place: int, message: Outgoing, key: bytes) -> None:
        super().__init__(call, place, message)
        self.key = key
        self.command = append(key, message)
        self.sent: bytes | None = None
        """From which entry id on to look for it, since this try began."""
        self.tried: bytes | None = None
        """The same of the first of earlier tries that may have arrived."""


class Publisher:
    """One writer and its connection."""

    def __init__(self, place: Place, prefix: str) -> None:
        self._place = place
        self._prefix = prefix
        self._line = Line(place)
        self._first = FirstTries()
        self._waiting = Waiting()
        self._writer: Writer[Sending] = Writer(
            name=f"{place}: publishing",
            write=self._send,
            failed=self._fail,
            messages=MESSAGES,
            heaviest=BYTES,
        )

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> list[BrokerError | None]:
        """See Adapter."""
        call = Call(len(messages), asyncio.get_running_loop().time() + timeout)
        items = [
            Sending(call, place, message, stream(self._prefix, message.address))
            for place, message in enumerate(messages)
        ]
        self._writer.add(items)
        return await self._waiting.verdicts(call, items, lambda item: self._late(item, timeout))

    async def close(self) -> None:
        """Let go of the connection; what is on its way ends as uncertain."""
        await self._writer.close()
        await self._line.close()

    async def _send(self, batch: Sequence[Sending]) -> None:
        now = asyncio.get_running_loop().time
        if await self._line.ready(trusting=True):
            (answer,) = await self._line.run([TIME], ANSWER)
            self._first.connected(answer, now())
        batch = [item for item in batch if not item.call.over]
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

    def _settle(self, piece: Sequence[Sending], reply: Any) -> None:
        each = reply if isinstance(reply, list) else [reply] * len(piece)
        for item, answer in zip(piece, each, strict=True):
            item.settle(self._verdict(item, answer))

    def _verdict(self, item: Sending, reply: Any) -> BrokerError | None:
        if reply is None:
            return QueueNotFound(f"queue {item.message.address} does not exist: create_queue() makes it")
        if isinstance(reply, ResponseError):
            return ours(reply, self._doing(item))
        return None

    def _fail(self, batch: Sequence[Sending], error: Exception) -> None:
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

    def _late(self, item: Sending, timeout: float) -> BrokerError:
        if item.sent:
            return PublishUnknown(
                f"{self._doing(item)}: message {item.message.id} was not confirmed within {timeout:.3g} s; "
                "it may have arrived"
            )
        return BrokerUnavailable(f"{self._doing(item)}: not sent within {timeout:.3g} s")

    def _doing(self, item: Sending) -> str:
        return f"{self._place}: publishing to queue {item.message.address}"


def _pieces(batch: Iterable[Sending]) -> Iterator[list[Sending]]:
    """What goes out as one command: a message, or neighbours that are repeated into the same stream."""
    for address, items in groupby(batch, _repeated):
        if address is None:
            for item in items:
                yield [item]
        else:
            yield list(items)


def _repeated(item: Sending) -> Address | None:
    """Where it goes to once more."""
    return None if item.tried is None else item.message.address


def _command(piece: Sequence[Sending]) -> Command:
    tried = [item.tried for item in piece if item.tried is not None]
    if not tried:
        return piece[0].command
    first = min(tried, key=lambda since: int(since.partition(b"-")[0]))
    return add_missing(piece[0].key, first, [item.command for item in piece])
