"""Publishing: messages awaited at the same time share one pipeline; one pipeline at a time, so order is kept.

What a broken connection left open is known, and repeated by a script that adds nothing twice: see `repeating`.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from msgbus.adapter.batch_writer import BatchWriter
from msgbus.adapter.publish_calls import CallTimeouts, PendingMessage, PublishCall
from msgbus.errors import BrokerUnavailable, PublishUnknown, QueueNotFound
from msgbus_redis.codec import encode_xadd
from msgbus_redis.connection.connection import REPLY_TIMEOUT_SECONDS, RedisConnection
from msgbus_redis.errors import translate
from msgbus_redis.keys import stream_key
from msgbus_redis.publisher.deduplication import TIME_COMMAND, FirstAttempts, add_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError
    from msgbus_redis.connection.connection import Command
    from msgbus_redis.connection.server import ServerAddress

__all__ = ["Publisher"]

MAX_BATCH_MESSAGES: Final = 500
"""Most messages of a pipeline: 38,400 msg/s against 18,600 with 10 and 6,100 one by one."""
MAX_BATCH_BYTES: Final = 1024 * 1024
"""A pipeline is full when its bodies have so many; a larger message goes alone."""

CLOSE_AFTER_DEADLINE_SECONDS: Final = 0.2
"""Seconds after the last deadline of a pipeline at which its connection is closed: each caller has its verdict then."""


class PendingPublish(PendingMessage):
    """One message on its way."""

    __slots__ = ("attempted", "command", "key", "sent")

    def __init__(self, call: PublishCall, place: int, message: Outgoing, key: bytes) -> None:
        super().__init__(call, place, message)
        self.key = key
        self.command = encode_xadd(key, message)
        self.sent: bytes | None = None
        """From which entry id on to look for it, since this try began."""
        self.attempted: bytes | None = None
        """The same of the first of earlier tries that may have arrived."""


class Publisher:
    """One writer and its connection."""

    def __init__(self, place: ServerAddress, prefix: str) -> None:
        self._address = place
        self._prefix = prefix
        self._connection = RedisConnection(place)
        self._first_attempts = FirstAttempts()
        self._timeouts = CallTimeouts()
        self._writer: BatchWriter[PendingPublish] = BatchWriter(
            name=f"{place}: publishing",
            write=self._send,
            failed=self._fail,
            messages=MAX_BATCH_MESSAGES,
            heaviest=MAX_BATCH_BYTES,
        )

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> list[BrokerError | None]:
        """See Adapter."""
        call = PublishCall(len(messages), asyncio.get_running_loop().time() + timeout)
        items = [
            PendingPublish(call, place, message, stream_key(self._prefix, message.address))
            for place, message in enumerate(messages)
        ]
        self._writer.add(items)
        return await self._timeouts.collect_results(call, items, lambda item: self._late(item, timeout))

    async def close(self) -> None:
        """Let go of the connection; what is on its way ends as uncertain."""
        await self._writer.close()
        await self._connection.close()

    async def _send(self, batch: Sequence[PendingPublish]) -> None:
        now = asyncio.get_running_loop().time
        if await self._connection.ready(trusting=True):
            (answer,) = await self._connection.run([TIME_COMMAND], REPLY_TIMEOUT_SECONDS)
            self._first_attempts.connected(answer, now())
        batch = [item for item in batch if not item.call.over]
        began = self._first_attempts.began(now())
        for item in batch:
            item.sent, item.attempted = began, self._first_attempts.first_attempt(item.message)
        replies: list[Any] = []
        within = max((item.call.end for item in batch), default=0.0) - now()
        pieces = list(_pieces(batch))
        try:
            if pieces:
                await self._connection.run(
                    [_command(piece) for piece in pieces], max(within, 0.0) + CLOSE_AFTER_DEADLINE_SECONDS, replies
                )
        finally:
            for piece, reply in zip(pieces, replies, strict=False):
                self._settle(piece, reply)

    def _settle(self, piece: Sequence[PendingPublish], reply: Any) -> None:
        each = reply if isinstance(reply, list) else [reply] * len(piece)
        for item, answer in zip(piece, each, strict=True):
            item.complete(self._result(item, answer))

    def _result(self, item: PendingPublish, reply: Any) -> BrokerError | None:
        if reply is None:
            return QueueNotFound(f"queue {item.message.address} does not exist: create_queue() makes it")
        if isinstance(reply, ResponseError):
            return translate(reply, self._doing(item))
        return None

    def _fail(self, batch: Sequence[PendingPublish], error: Exception) -> None:
        for item in batch:
            if item.completed:
                continue
            verdict = translate(error, self._doing(item))
            if isinstance(verdict, BrokerUnavailable):
                verdict = BrokerUnavailable(str(verdict), uncertain=item.sent is not None)
                verdict.__cause__ = error
                if item.sent is not None:
                    self._first_attempts.record_uncertain(item.message, item.sent)
            item.complete(verdict)

    def _late(self, item: PendingPublish, timeout: float) -> BrokerError:
        if item.sent:
            return PublishUnknown(
                f"{self._doing(item)}: message {item.message.id} was not confirmed within {timeout:.3g} s; "
                "it may have arrived"
            )
        return BrokerUnavailable(f"{self._doing(item)}: not sent within {timeout:.3g} s")

    def _doing(self, item: PendingPublish) -> str:
        return f"{self._address}: publishing to queue {item.message.address}"


def _pieces(batch: Iterable[PendingPublish]) -> Iterator[list[PendingPublish]]:
    """What goes out as one command: a message, or neighbours that are repeated into the same stream."""
    for address, items in groupby(batch, _repeated):
        if address is None:
            for item in items:
                yield [item]
        else:
            yield list(items)


def _repeated(item: PendingPublish) -> Address | None:
    """Where it goes to once more."""
    return None if item.attempted is None else item.message.address


def _command(piece: Sequence[PendingPublish]) -> Command:
    tried = [item.attempted for item in piece if item.attempted is not None]
    if not tried:
        return piece[0].command
    first = min(tried, key=lambda since: int(since.partition(b"-")[0]))
    return add_missing(piece[0].key, first, [item.command for item in piece])
