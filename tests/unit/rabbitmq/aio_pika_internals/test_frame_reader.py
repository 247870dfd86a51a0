"""The frame reader: a delivery equals what aiormq makes of it, and every other frame reaches aiormq."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from aio_pika.exceptions import AMQPConnectionError, InvalidFrameError
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from msgbus_rabbitmq.aio_pika_internals.frame_reader import FrameReader
from msgbus_rabbitmq.amqp_frames import from_aiormq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiormq.abc import AbstractChannel

    from msgbus_rabbitmq.amqp_frames import Delivered

CHANNEL = 7
TEXT = st.text(max_size=20)
SHORT = st.one_of(st.none(), st.text(min_size=1, max_size=20))
TIME = st.integers(min_value=0, max_value=2_000_000_000)
PROPERTIES = st.fixed_dictionaries(
    {
        **dict.fromkeys(("content_type", "content_encoding", "message_id", "correlation_id", "reply_to"), SHORT),
        **dict.fromkeys(("expiration", "message_type", "user_id", "app_id"), SHORT),
        "headers": st.one_of(
            st.none(),
            st.dictionaries(TEXT, TEXT, max_size=4),
            st.dictionaries(TEXT, st.one_of(TEXT, st.integers(0, 2**31), st.booleans(), st.none()), max_size=4),
        ),
        "delivery_mode": st.one_of(st.none(), st.sampled_from([1, 2])),
        "priority": st.one_of(st.none(), st.integers(1, 9)),
        "timestamp": st.one_of(st.none(), TIME.map(lambda seconds: datetime.fromtimestamp(seconds, UTC))),
    }
)


BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=3)


class Channel:
    """What a reader asks of an underlay channel."""

    def __init__(self, number: int = CHANNEL) -> None:
        self.number = number
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def channel_of(channel: Channel) -> AbstractChannel:
    return cast("AbstractChannel", channel)


def frames(parts: Sequence[bytes] = (b"body",), tag: int = 1, *, again: bool = False, **properties: Any) -> list[Any]:
    deliver = Basic.Deliver(consumer_tag="ctag", delivery_tag=tag, redelivered=again, exchange="x", routing_key="r")
    header = ContentHeader(body_size=sum(map(len, parts)), properties=Basic.Properties(**properties))
    return [deliver, header, *map(ContentBody, parts)]


def written(frames: Sequence[Any], channel: int = CHANNEL) -> bytes:
    return b"".join(marshal(one, channel) for one in frames)


def by_client(data: bytes) -> Delivered:
    """What aiormq makes of one delivery's frames."""
    said = []
    while data:
        size, _, frame = unmarshal(data)
        said.append(cast("Any", frame))
        data = data[size:]
    deliver, header, *bodies = said
    delivered = DeliveredMessage(deliver, header, b"".join(one.value for one in bodies), cast("Any", None))
    return from_aiormq(delivered)


def fed(*chunks: bytes, end: bool = True) -> FrameReader:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    if end:
        reader.feed_eof()
    return FrameReader(reader)


async def rest(reading: FrameReader) -> list[Any]:
    """What the client gets until the connection ends, but for signs of life."""
    got: list[Any] = []
    with suppress(AMQPConnectionError):
        while True:
            got.append((await anext(reading))[1:])
    return [(channel, frame) for channel, frame in got if not isinstance(frame, Heartbeat)]


@given(PROPERTIES, BODIES, st.booleans())
def test_a_delivery_is_what_the_client_makes_of_it(properties: Any, parts: list[bytes], again: bool) -> None:
    async def run() -> None:
        taken: list[Delivered] = []
        data = written(frames(parts, 2**40, again=again, **properties))
        reading = fed(data)
        reading.consume(channel_of(Channel()), taken.append)
        assert not await rest(reading)
        assert taken == [by_client(data)]

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 50, 333])
async def test_however_the_bytes_come_in_pieces_the_deliveries_are_the_same(size: int) -> None:
    deliveries = [
        written(frames([b"x" * 30] * parts, tag, headers={"a": "b"}, message_id=str(tag)))
        for tag, parts in enumerate((0, 1, 3, 1), 1)
    ]
    between = written([Basic.Ack(5)]) + marshal(Heartbeat(), 0) + written(frames(tag=9), 8)
    data = deliveries[0] + deliveries[1] + between + deliveries[2] + deliveries[3]
    reader = asyncio.StreamReader()
    reading = FrameReader(reader)
    taken: list[Delivered] = []
    reading.consume(channel_of(Channel()), taken.append)
    client = asyncio.ensure_future(rest(reading))
    for start in range(0, len(data), size):
        reader.feed_data(data[start : start + size])
        await asyncio.sleep(0)
    reader.feed_eof()
    got = await client
    assert taken == [by_client(one) for one in deliveries]
    assert [(channel, frame.name) for channel, frame in got] == [
        (CHANNEL, "Basic.Ack"),
        (8, "Basic.Deliver"),
        (8, "ContentHeader"),
        (8, "ContentBody"),
    ]


async def test_deliveries_of_two_channels_may_be_mixed() -> None:
    one, two = frames([b"1"], 1), frames([b"2"], 2)
    mixed = itertools.chain(*zip((marshal(a, 1) for a in one), (marshal(b, 2) for b in two), strict=True))
    reading = fed(b"".join(mixed))
    taken: dict[int, list[Delivered]] = {1: [], 2: []}
    for number, here in taken.items():
        reading.consume(channel_of(Channel(number)), here.append)
    assert not await rest(reading)
    assert [[(it.tag, it.body) for it in here] for here in taken.values()] == [[(1, b"1")], [(2, b"2")]]


async def test_what_is_returned_or_asked_for_on_a_channel_that_consumes_is_the_clients() -> None:
    _, *content = frames()
    returned = [Basic.Return(312, "NO_ROUTE", "x", "r"), *content]
    asked_for = [Basic.GetOk(3, exchange="x", routing_key="r", message_count=0), *content]
    reading = fed(written(frames()) + written(returned) + written(asked_for))
    taken: list[Delivered] = []
    reading.consume(channel_of(Channel()), taken.append)
    got = [frame.name for _, frame in await rest(reading)]
    assert got == ["Basic.Return", "ContentHeader", "ContentBody", "Basic.GetOk", "ContentHeader", "ContentBody"]
    assert len(taken) == 1


async def test_a_channel_that_is_closed_takes_nothing_and_the_next_of_its_number_its_own() -> None:
    reading = fed(written(frames()))
    old, new = Channel(), Channel()
    former: list[Delivered] = []
    taken: list[Delivered] = []
    reading.consume(channel_of(old), former.append)
    reading.consume(channel_of(new), taken.append)
    old.closing.set_result(None)
    await asyncio.sleep(0)
    assert not await rest(reading)
    assert (len(former), len(taken)) == (0, 1)
    new.closing.set_result(None)
    await asyncio.sleep(0)
    reading._reader = asyncio.StreamReader()
    reading._reader.feed_data(written(frames()))
    reading._reader.feed_eof()
    assert len(await rest(reading)) == 3
    assert len(taken) == 1


async def test_a_server_that_does_nothing_but_deliver_is_known_to_be_alive() -> None:
    reading = fed(written(frames() * 3), end=False)
    reading.consume(channel_of(Channel()), lambda _: None)
    _, channel, frame = await anext(reading)
    assert channel == 0
    assert isinstance(frame, Heartbeat)


async def test_a_connection_that_ends_or_breaks_is_the_clients_error_and_its_cause() -> None:
    assert len(await rest(fed(written(frames())[:-3]))) == 2
    reader = asyncio.StreamReader()
    reader.set_exception(ConnectionResetError("cut"))
    with pytest.raises(AMQPConnectionError) as broke:
        await anext(FrameReader(reader))
    assert isinstance(broke.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize(
    "data",
    [
        written([Basic.Ack(1)])[:-1] + b"\x00",
        b"\x01\x00\x07\x00\x00\x00\x04\x00\x63\x00\x63\xce",
        written(frames()[:1]) + b"\x02\x00\x07\x00\x00\x00\x02\x00\x3c\xce",
    ],
    ids=["no end", "no such method", "no header"],
)
async def test_what_is_no_frame_is_the_clients_error(data: bytes) -> None:
    reading = fed(data)
    reading.consume(channel_of(Channel()), lambda _: None)
    with pytest.raises(InvalidFrameError):
        async for _ in reading:
            pass
