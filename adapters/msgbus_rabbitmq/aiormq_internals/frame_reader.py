"""Reading a connection: a delivery goes straight to whoever consumes it, every other frame to the client.

The client reads a delivery's three frames by nine awaits, decodes them field by field, hands them on through a queue
and makes a task of each message. What this takes the place of, it does not promise to keep: where it has changed inside
(see `client`), it consumes in its own way, and whoever consumes sees no difference but the time.
"""

from __future__ import annotations

import logging
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Self

from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal
from pamqp.heartbeat import Heartbeat

from msgbus_rabbitmq.amqp_frames import (
    FRAME_END,
    FRAME_HEADER,
    HEADER,
    METHOD,
    Delivered,
    Properties,
    decode_content_header,
    from_aiormq,
)

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Callable

    from aiormq.abc import AbstractChannel, DeliveredMessage
    from aiormq.connection import ReceivedFrame

__all__ = ["FrameReader", "consume"]

logger = logging.getLogger("msgbus.rabbitmq")

READ_CHUNK_BYTES: Final = 256 * 1024
"""Bytes of one read at most: as many as asyncio takes from a socket at once."""
_DELIVER: Final = b"\x00\x3c\x00\x3c"
_TAG: Final = Struct(">QB")
_NONE: Final = Properties("", {}, None, None)
_ALIVE: Final = (8, 0, Heartbeat())
"""What the client is given where it gets nothing else: a server that delivers all the time sends no heartbeats."""


class FrameReader:
    """What aiormq iterates over instead of its own receiver of frames."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._unparsed = b""
        self._frames: deque[ReceivedFrame] = deque()
        self._consuming: dict[int, _DeliveryAssembler] = {}

    def consume(self, channel: AbstractChannel, take: Callable[[Delivered], None]) -> None:
        """``take`` gets what is delivered over ``channel``, until that is closed."""
        number = channel.number
        self._consuming[number] = consuming = _DeliveryAssembler(take)

        def closed(_: object) -> None:
            if self._consuming.get(number) is consuming:
                del self._consuming[number]

        channel.closing.add_done_callback(closed)

    def __aiter__(self) -> Self:
        """See FrameReceiver."""
        return self

    async def __anext__(self) -> ReceivedFrame:
        """See FrameReceiver. Raises AMQPConnectionError and InvalidFrameError."""
        if not self._frames:
            self._split(self._unparsed + await self._read())
            if not self._frames:
                return _ALIVE
        return self._frames.popleft()

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(READ_CHUNK_BYTES)
        except OSError as error:
            raise AMQPConnectionError(f"Server connection broke: {error!r}") from error
        if not data:
            raise AMQPConnectionError("Server connection unexpectedly closed")
        return data

    def _split(self, data: bytes) -> None:
        """Give away the whole frames of ``data``, and keep what is left for the next time."""
        at, size = 0, len(data)
        while at + FRAME_HEADER.size < size:
            kind, number, length = FRAME_HEADER.unpack_from(data, at)
            end = at + FRAME_HEADER.size + length
            if end >= size:
                break
            if data[end] != FRAME_END:
                raise InvalidFrameError("a frame does not end where it should")
            consuming = self._consuming.get(number)
            if consuming is None or not consuming.add_frame(kind, data[at + FRAME_HEADER.size : end]):
                self._frames.append(_unmarshalled(data[at : end + 1]))
            at = end + 1
        self._unparsed = data[at:]


class _DeliveryAssembler:
    """The deliveries of one channel, each put together of its frames."""

    __slots__ = ("_again", "_missing", "_parts", "_properties", "_tag", "_take")

    def __init__(self, take: Callable[[Delivered], None]) -> None:
        self._take = take
        self._tag = 0
        """Of the delivery under way; 0 where there is none."""
        self._again = False
        self._properties = _NONE
        self._missing = 0
        self._parts: list[bytes] = []

    def add_frame(self, kind: int, payload: bytes) -> bool:
        """Whether this frame is part of a delivery."""
        if kind == METHOD:
            if not payload.startswith(_DELIVER):
                return False
            consumer = len(_DELIVER)
            self._tag, again = _TAG.unpack_from(payload, consumer + 1 + payload[consumer])
            self._again = bool(again & 1)
            return True
        if not self._tag:
            return False  # of basic.return or basic.get
        if kind == HEADER:
            self._missing, self._properties = decode_content_header(payload)
        else:
            self._missing -= len(payload)
            self._parts.append(payload)
        if self._missing <= 0:
            self._complete()
        return True

    def _complete(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        delivered = Delivered(self._tag, self._again, self._properties, body)
        self._tag, self._parts = 0, []
        self._take(delivered)


async def consume(channel: AbstractChannel, queue: str, take: Callable[[Delivered], None]) -> None:
    """``take`` gets what the server delivers of ``queue`` over ``channel``, which has no other consumer."""
    reading: FrameReader | None = getattr(channel.connection, "frame_reader", None)
    if reading is None:
        logger.warning("this version of aiormq reads in another way than known: consuming takes four times as long")
    else:
        reading.consume(channel, take)

    async def pushed(message: DeliveredMessage) -> None:
        take(from_aiormq(message))

    await channel.basic_consume(queue, pushed)


def _unmarshalled(frame: bytes) -> Any:
    try:
        return unmarshal(frame)
    except PAMQPException as error:
        raise InvalidFrameError(str(error)) from error
