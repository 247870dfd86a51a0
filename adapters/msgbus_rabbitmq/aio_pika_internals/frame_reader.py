"""A reader of AMQP frames that assembles deliveries itself and passes every other frame to aiormq.

Client: aiormq 7.2.4. Symptom: consuming takes 66 us of CPU per message: aiormq reads the three frames of a delivery by
nine awaits, decodes them field by field, passes them through a queue and starts a task for each message. With this
reader it takes 17 us. It also reads properties that are not UTF-8 (third-party clients), which end aiormq's connection.

Test that fails without it: test_the_client_that_is_installed_is_read_at_once.
`verification` and `rehearsal` check that aiormq's frame loop works with it. Where it does not, aiormq's own
reader gives the same deliveries: see `consume`. Remove it when aiormq decodes deliveries at a comparable cost.

    socket -> FrameReader.get_frame() -> _split() -> frames of a delivery -> _DeliveryAssembler -> take(Delivered)
                                                  -> any other frame -> aiormq's frame loop
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Self

from aio_pika.exceptions import AMQPConnectionError, InvalidFrameError
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
)

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Callable

    from aiormq.abc import AbstractChannel
    from aiormq.connection import ReceivedFrame

__all__ = ["FrameReader"]

READ_CHUNK_BYTES: Final = 256 * 1024
"""Most bytes of one read: asyncio takes as many from a socket at once."""
_DELIVER: Final = b"\x00\x3c\x00\x3c"
_TAG: Final = Struct(">QB")
_NONE: Final = Properties("", {}, None, None)
_ALIVE: Final = (8, 0, Heartbeat())
"""A heartbeat frame for aiormq after a read that held only frames of deliveries.

A server that delivers all the time sends no heartbeats, and aiormq counts only frames that it gets as signs of life.
"""


class FrameReader:
    """Takes the place of aiormq's FrameReceiver: iterable, with ``get_frame()``."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._unparsed = b""
        self._frames: deque[ReceivedFrame] = deque()
        self._consuming: dict[int, _DeliveryAssembler] = {}

    def consume(self, channel: AbstractChannel, take: Callable[[Delivered], None]) -> None:
        """Pass the deliveries of the underlay ``channel`` to ``take`` until the channel is closed."""
        number = channel.number
        self._consuming[number] = consuming = _DeliveryAssembler(take)

        def closed(_: object) -> None:
            if self._consuming.get(number) is consuming:
                del self._consuming[number]

        channel.closing.add_done_callback(closed)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedFrame:
        """Return the next frame for aiormq: its weight, channel and content.

        Raises AMQPConnectionError when the connection ends, and InvalidFrameError for bytes that are no frame.
        """
        if not self._frames:
            self._split(self._unparsed + await self._read())
            if not self._frames:
                return _ALIVE
        return self._frames.popleft()

    async def get_frame(self) -> ReceivedFrame:
        """Return the next frame, as FrameReceiver.get_frame(). aiormq 7.2 iterates instead."""
        return await self.__anext__()

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(READ_CHUNK_BYTES)
        except OSError as error:
            raise AMQPConnectionError(f"Server connection broke: {error!r}") from error
        if not data:
            raise AMQPConnectionError("Server connection unexpectedly closed")
        return data

    def _split(self, data: bytes) -> None:
        """Distribute the complete frames of ``data`` and keep the rest for the next read."""
        at, size = 0, len(data)
        while at + FRAME_HEADER.size < size:
            kind, number, length = FRAME_HEADER.unpack_from(data, at)
            end = at + FRAME_HEADER.size + length
            if end >= size:
                break
            if data[end] != FRAME_END:
                raise InvalidFrameError(f"channel {number}: a frame of {length} bytes has no end marker")
            consuming = self._consuming.get(number)
            if consuming is None or not consuming.add_frame(kind, data[at + FRAME_HEADER.size : end]):
                self._frames.append(_unmarshalled(data[at : end + 1]))
            at = end + 1
        self._unparsed = data[at:]


class _DeliveryAssembler:
    """Assembles the deliveries of one channel from their frames."""

    __slots__ = ("_again", "_missing", "_parts", "_properties", "_tag", "_take")

    def __init__(self, take: Callable[[Delivered], None]) -> None:
        self._take = take
        self._tag = 0
        """Delivery tag of the delivery in progress; 0 if there is none."""
        self._again = False
        self._properties = _NONE
        self._missing = 0
        self._parts: list[bytes] = []

    def add_frame(self, kind: int, payload: bytes) -> bool:
        """Add a frame; return False if it is not part of a delivery."""
        if kind == METHOD:
            if not payload.startswith(_DELIVER):
                return False
            consumer = len(_DELIVER)
            self._tag, again = _TAG.unpack_from(payload, consumer + 1 + payload[consumer])
            self._again = bool(again & 1)
            return True
        if not self._tag:
            return False  # it belongs to a Basic.Return or Basic.Get-Ok
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


def _unmarshalled(frame: bytes) -> Any:
    try:
        return unmarshal(frame)
    except PAMQPException as error:
        raise InvalidFrameError(str(error)) from error
