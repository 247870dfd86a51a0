"""Writing messages to a channel with confirms: many in one write, or one by one where the client has changed inside.

One write takes a fraction of the processor's time, and uses what aiormq does not promise to keep. So it is looked for,
and the way without gives the same verdicts.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final

from aiormq import abc

from msgbus.adapter.publish_calls import PendingMessage
from msgbus.errors import PublishError
from msgbus_rabbitmq.codec import client_properties, encode_publish, route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.publish_calls import PublishCall

__all__ = ["PendingPublish", "supports_batch_publish", "unconfirmed", "write_each", "write_many"]

logger = logging.getLogger("msgbus.rabbitmq")

_attempts: Final = map(f"{uuid.uuid4().hex}-{{}}".format, itertools.count())
"""A fresh AMQP message_id for each try."""
_FRAME: Final = ("payload", "should_close", "drain_future")
_NEEDED: Final[dict[str, Callable[[Any], bool]]] = {
    "confirmations": lambda there: isinstance(there, dict),
    "message_id_delivery_tag": lambda there: isinstance(there, dict),
    "delivery_tag": lambda there: isinstance(there, int),
    "max_content_size": lambda there: isinstance(there, int),
    "number": lambda there: isinstance(there, int),
    "create_future": callable,
    "write_queue": lambda there: callable(getattr(there, "put", None)),
    "lock": lambda there: hasattr(there, "__aenter__"),
}


class PendingPublish(PendingMessage):
    """A message on its way. On a channel it is its own confirmation: what the client asks of a future, it answers."""

    __slots__ = ("attempt", "channel", "ended", "sent", "task")

    def __init__(
        self,
        call: PublishCall,
        place: int,
        message: Outgoing,
        ended: Callable[[PendingPublish, BaseException | None], None],
    ) -> None:
        """``ended`` is called when the server has confirmed it (None), refused or returned it."""
        super().__init__(call, place, message)
        self.ended = ended
        self.attempt = ""
        """The AMQP message_id of this try, by which the client finds what the server returned."""
        self.channel: Any = None
        """Where it was written."""
        self.sent = False
        """It may have arrived."""
        self.task: asyncio.Task[None] | None = None
        """Where it is written alone; the event loop would not keep it alive."""

    def done(self) -> bool:
        """See Future."""
        return self.completed

    def cancelled(self) -> bool:
        """See Future: where this is done before the server's word, nobody waits for it any more."""
        return self.completed

    def set_result(self, _: object) -> None:
        """See Future: the server has it."""
        self.channel.message_id_delivery_tag.pop(self.attempt, None)
        self.ended(self, None)

    def set_exception(self, error: BaseException) -> None:
        """See Future: the server refused or returned it."""
        self.channel.message_id_delivery_tag.pop(self.attempt, None)
        self.ended(self, error)


def supports_batch_publish(channel: Any) -> bool:
    """Many messages can be written at once on this channel."""
    lacking = [name for name, is_right in _NEEDED.items() if not is_right(getattr(channel, name, None))]
    frame = getattr(abc, "ChannelFrame", None)
    if frame is None or tuple(inspect.signature(frame).parameters) != _FRAME:
        lacking.append("ChannelFrame")
    if lacking:
        logger.warning("this version of aiormq has no %s as known: each message is written alone", ", ".join(lacking))
    return not lacking


def unconfirmed(channel: Any) -> list[PendingPublish]:
    """What write_many() sent on this channel and the server has said nothing of."""
    return [one for one in channel.confirmations.values() if isinstance(one, PendingPublish)]


async def write_many(channel: Any, items: Sequence[PendingPublish]) -> None:
    """Write these in order, in one write. Raises what the channel raises; what is not ``sent`` then is not sent.

    What basic_publish() does for one message is done here for many: a delivery tag, what its confirmation goes to, and
    the message_id by which a returned message finds it. Two equal ones in flight swap results: it is fresh.
    """
    async with channel.lock:
        if channel.is_closed:
            raise ConnectionResetError("the channel was closed")  # nobody would end what is noted on it now
        payload: list[bytes] = []
        written: list[PendingPublish] = []
        for item in items:
            item.attempt = next(_attempts)
            try:
                payload.append(encode_publish(item.message, item.attempt, channel.number, channel.max_content_size))
            except Exception as error:  # noqa: BLE001 - what the client's encoder cannot say is this message's own fault
                item.complete(_not_carried(item, error))
            else:
                written.append(item)
        if not written:
            return
        # Noted before they can go out: the answer may be read before put() returns.
        before = channel.delivery_tag
        for item in written:
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = item
            channel.message_id_delivery_tag[item.attempt] = channel.delivery_tag
            item.channel, item.sent = channel, True
        # The frame's future makes the writer drain the socket: that is the back-pressure. Nobody waits for it here.
        frame = abc.ChannelFrame(b"".join(payload), should_close=False, drain_future=channel.create_future())
        try:
            await channel.write_queue.put(frame)
        except BaseException:
            # The server has not seen these: their sequence numbers are for the next.
            channel.delivery_tag = before
            for tag, item in enumerate(written, before + 1):
                item.sent = False
                channel.confirmations.pop(tag, None)
                channel.message_id_delivery_tag.pop(item.attempt, None)
            raise


async def write_each(channel: Any, items: Sequence[PendingPublish]) -> None:
    """As write_many(), by what aiormq promises: its calls queue for the channel's lock in their order."""
    loop = asyncio.get_running_loop()
    for item in items:
        item.channel, item.sent = channel, True
        item.task = loop.create_task(_publish(channel, item), name="msgbus rabbitmq publishing")


async def _publish(channel: Any, item: PendingPublish) -> None:
    exchange, key = route(item.message.address)
    about = client_properties(item.message, next(_attempts))
    try:
        await channel.basic_publish(
            item.message.body, exchange=exchange, routing_key=key, properties=about, mandatory=True
        )
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a message's end like any other
        item.ended(item, error)
    else:
        item.ended(item, None)


def _not_carried(item: PendingPublish, error: Exception) -> PublishError:
    return PublishError(f"queue {str(item.message.address)!r}: AMQP cannot carry message {item.message.id}: {error}")
