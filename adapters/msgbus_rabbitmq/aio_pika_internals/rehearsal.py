"""Offline checks of the behaviour that `frame_reader` and `batch_publish` expect of the installed aiormq.

Each check runs aiormq's own classes on frames as a server would send them. Nothing is connected, and no timer is used.
A check returns what went wrong, or ``""``. Together they take about a millisecond.
"""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiormq
import aiormq.connection
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.commands import Connection as Methods
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from msgbus.adapter.address import Address
from msgbus.adapter.envelope import Outgoing
from msgbus.adapter.publish_calls import PublishCall
from msgbus_rabbitmq.aio_pika_internals.batch_publish import PendingPublish, missing_attributes, write_many
from msgbus_rabbitmq.aio_pika_internals.underlay import Underlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgbus_rabbitmq.amqp_frames import Delivered

__all__ = ["rehearse_batch_publish", "rehearse_frame_reader"]

URL: Final = "amqp://rehearsal.invalid?heartbeat=0"
MAX_TURNS: Final = 100
"""Turns of the event loop that a check waits for aiormq; it needs fewer than ten."""


async def rehearse_frame_reader() -> str:
    """Run aiormq's frame loop over one delivery and a Close-Ok; return what went wrong."""
    connection = Underlay(URL)
    stream = asyncio.StreamReader()
    receiver = aiormq.connection.FrameReceiver(stream)
    loop = asyncio.ensure_future(connection._Connection__reader(receiver))
    try:
        return await _deliver(connection, stream, loop)
    except Exception as error:  # noqa: BLE001 - any error means that the part cannot be used
        return f"the frame loop failed: {error!r}"
    finally:
        if not loop.done():
            loop.cancel()
        await asyncio.wait({loop})
        if not loop.cancelled():
            loop.exception()  # it is reported above


async def _deliver(connection: Underlay, stream: asyncio.StreamReader, loop: asyncio.Future[None]) -> str:
    received: list[Delivered] = []
    await _turns(lambda: connection.frame_reader is not None or loop.done())
    if connection.frame_reader is None:
        return "Connection.__reader() does not read from its frame_receiver"
    channel: Any = SimpleNamespace(number=1, closing=asyncio.get_running_loop().create_future())
    connection.frame_reader.consume(channel, received.append)
    connection._Connection__last_frame_time = -math.inf  # type: ignore[attr-defined]
    if not connection.is_connection_was_stuck:
        return "Connection.__last_frame_time does not tell when the last frame was read"
    delivery: list[Any] = [Basic.Deliver("", 1, False, "", ""), ContentHeader(body_size=1), ContentBody(b"x")]
    stream.feed_data(b"".join(marshal(frame, 1) for frame in delivery))
    await _turns(lambda: not connection.is_connection_was_stuck or loop.done())
    if not received:
        return "Connection.__reader() does not read deliveries from its frame_receiver"
    if connection.is_connection_was_stuck:
        return "deliveries do not count as a sign of life"
    stream.feed_data(marshal(Methods.CloseOk(), 0))
    await _turns(loop.done)
    if not loop.done():
        return "Connection.__reader() does not end at Close-Ok"
    loop.result()
    return ""


async def rehearse_batch_publish() -> str:
    """Write five messages to an offline channel and answer them in each possible way; return what went wrong."""
    connection = aiormq.Connection(URL)
    connection.connection_tune = Methods.Tune(channel_max=1, frame_max=4096, heartbeat=0)
    connection.server_properties = {"capabilities": {"publisher_confirms": True}}
    channel = aiormq.Channel(connection, 1, publisher_confirms=True)
    try:
        if missing := missing_attributes(channel):
            return f"{', '.join(missing)} is missing or has changed"
        return await _publish(connection, channel)
    except Exception as error:  # noqa: BLE001 - any error means that the part cannot be used
        return f"publishing failed: {error!r}"
    finally:
        await channel.close()


async def _publish(connection: aiormq.Connection, underlay: Any) -> str:
    ended: dict[int, BaseException | None] = {}
    call = PublishCall(5, math.inf)
    items = [
        PendingPublish(
            call, n, Outgoing(Address("q"), str(n), 0, b"", None, {}), lambda item, error: _note(ended, item, error)
        )
        for n in range(call.pending)
    ]
    channel: Any = SimpleNamespace(underlay=underlay)
    await write_many(channel, items)
    frame = connection.write_queue.get_nowait()
    if not frame.should_drain:
        return "a frame with a drain_future does not drain the socket"
    frame.drain()
    returned = ContentHeader(body_size=0, properties=Basic.Properties(message_id=items[2].attempt))
    for answer in (
        Basic.Ack(1),
        Basic.Nack(2),
        Basic.Return(312, "NO_ROUTE", "q", "q"),
        returned,
        Basic.Ack(3),
        Basic.Ack(5, multiple=True),
    ):
        underlay.frames.put_nowait((0, answer))
    await _turns(lambda: len(ended) == len(items))
    await _turns(lambda: not underlay.confirmations)
    expected = [type(None), DeliveryError, PublishError, type(None), type(None)]
    if [type(ended.get(n, "no answer")) for n in range(len(items))] != expected:
        return "Channel.confirmations does not end each publish by its answer"
    if underlay.confirmations or underlay.message_id_delivery_tag or underlay.delivery_tag != len(items):
        return "Channel.confirmations, message_id_delivery_tag or delivery_tag is kept differently"
    return ""


def _note(ended: dict[int, BaseException | None], item: PendingPublish, error: BaseException | None) -> None:
    ended[item.index] = error


async def _turns(condition: Callable[[], bool]) -> None:
    """Give the event loop turns until ``condition()`` holds, at most ``MAX_TURNS``."""
    for _ in range(MAX_TURNS):
        if condition():
            return
        await asyncio.sleep(0)
