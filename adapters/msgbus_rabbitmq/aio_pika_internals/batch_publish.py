"""Writing of many messages to a channel with confirms in one write, and its fallback, one publish at a time.

Client: aiormq 7.2.4, which is the underlay of aio-pika 10.2.1. Symptom: its ``Channel.basic_publish()`` takes 129 to
152 us of CPU per message, aio-pika's ``Exchange.publish()`` as much and more; write_many() takes 37 to 42 us. It does
the bookkeeping of ``basic_publish()`` itself, in the underlay channel's ``confirmations``, ``message_id_delivery_tag``
and ``delivery_tag``, and puts a PendingPublish where aiormq has a future.

Test that fails without it: test_the_installed_client_fits_every_part.
`verification` and `rehearsal` check what is used. Where it does not fit, write_each() publishes by
``Exchange.publish()``, with the same results. Remove write_many() when aiormq publishes several messages in one write.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiormq import abc

from msgbus.adapter.publish_calls import PendingMessage
from msgbus.errors import PublishError
from msgbus_rabbitmq.codec import encode_publish, route, to_aio_pika

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiormq import Channel as UnderlayChannel

    from msgbus.adapter.envelope import Outgoing
    from msgbus.adapter.publish_calls import PublishCall
    from msgbus_rabbitmq.aio_pika_internals.connection import Channel

__all__ = ["PendingPublish", "awaits_confirms", "missing_attributes", "unconfirmed", "write_each", "write_many"]

_attempts: Final = map(f"{uuid.uuid4().hex}-{{}}".format, itertools.count())
"""Creates an AMQP message_id for each attempt to publish a message."""
_NEEDED: Final[dict[str, Callable[[Any], bool]]] = {
    "confirmations": lambda value: isinstance(value, dict),
    "message_id_delivery_tag": lambda value: isinstance(value, dict),
    "delivery_tag": lambda value: isinstance(value, int),
    "max_content_size": lambda value: isinstance(value, int),
    "number": lambda value: isinstance(value, int),
    "create_future": callable,
    "write_queue": lambda value: callable(getattr(value, "put", None)),
    "lock": lambda value: hasattr(value, "__aenter__"),
}


class PendingPublish(PendingMessage):
    """A message that is being published.

    write_many() puts it into ``confirmations`` of the underlay channel, where aiormq keeps futures. So it has the
    methods of a future: aiormq 7.2 calls ``done()``, ``cancelled()``, ``set_result()`` and ``set_exception()``. The
    others are here for a version that calls them. It is not awaitable, since nothing waits for a single message.
    """

    __slots__ = ("attempt", "callbacks", "channel", "ended", "error", "sent", "task")

    def __init__(
        self,
        call: PublishCall,
        place: int,
        message: Outgoing,
        ended: Callable[[PendingPublish, BaseException | None], None],
    ) -> None:
        """Prepare a publish. It calls ``ended`` with None when the server confirms the message, else with the error."""
        super().__init__(call, place, message)
        self.ended = ended
        self.attempt = ""
        """The AMQP message_id of this attempt. The client finds a returned message by it."""
        self.channel: Channel | None = None
        """The channel that it was written to."""
        self.sent = False
        """Whether it may have reached the server."""
        self.task: asyncio.Task[None] | None = None
        """The task of write_each(); kept here because the event loop keeps weak references only."""
        self.error: BaseException | None = None
        self.callbacks: list[Callable[[PendingPublish], object]] | None = None

    def done(self) -> bool:
        """Tell whether the publish result is known, as Future.done()."""
        return self.completed

    def cancelled(self) -> bool:
        """Return whether no caller waits for the server's answer any more.

        aiormq calls this after done(). A publish that is done before its answer has timed out: aiormq should not warn.
        """
        return self.completed

    def set_result(self, _: object) -> None:
        """End the publish: the server has confirmed the message."""
        self._end(None)

    def set_exception(self, error: BaseException | type[BaseException]) -> None:
        """End the publish: the server has refused or returned the message, or the channel is closed."""
        self._end(error() if isinstance(error, type) else error)

    def result(self) -> None:
        """Raise the error of the publish, as Future.result()."""
        if (error := self.exception()) is not None:
            raise error

    def exception(self) -> BaseException | None:
        """Return the error of the publish, as Future.exception()."""
        if not self.completed:
            raise asyncio.InvalidStateError("the server has not answered yet")
        return self.error

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Return False: a message that was written cannot be taken back."""
        return False

    def add_done_callback(self, callback: Callable[[PendingPublish], object], *, context: Any = None) -> None:
        """Call ``callback(self)`` in a later turn of the event loop once the server has answered."""
        call = partial(asyncio.get_running_loop().call_soon, context=context)
        if self.completed:
            call(callback, self)
        else:
            self.callbacks = [*(self.callbacks or ()), lambda item: call(callback, item)]

    def remove_done_callback(self, callback: object) -> int:  # noqa: ARG002
        """Return 0: callbacks cannot be removed."""
        return 0

    def _end(self, error: BaseException | None) -> None:
        if self.channel is not None:
            self.channel.underlay.message_id_delivery_tag.pop(self.attempt, None)
        self.error = error
        self.ended(self, error)
        if self.callbacks is not None:
            callbacks, self.callbacks = self.callbacks, None
            for callback in callbacks:
                callback(self)


def missing_attributes(channel: Any) -> list[str]:
    """Return the attributes that write_many() needs and the underlay channel lacks or has with another type."""
    return [name for name, is_right in _NEEDED.items() if not is_right(getattr(channel, name, None))]


def unconfirmed(channel: Channel) -> list[PendingPublish]:
    """Return the messages that write_many() wrote to ``channel`` and the server has not answered."""
    return [item for item in _confirmations(channel.underlay).values() if isinstance(item, PendingPublish)]


def awaits_confirms(channel: Channel) -> bool:
    """Tell whether the server has not answered all that was published on ``channel``."""
    return bool(getattr(channel.underlay, "confirmations", ()))


def _confirmations(channel: UnderlayChannel) -> dict[int, object]:
    return cast("dict[int, object]", channel.confirmations)


async def write_many(channel: Channel, items: Sequence[PendingPublish]) -> None:
    """Write ``items`` in order, in one write.

    For each message it does what ``basic_publish()`` does: take a delivery tag, register the confirmation, and register
    the message_id by which a returned message is found. Two equal message_ids in flight would swap their results, so
    each attempt has a new one.

    Raises what the channel raises. Then the items whose ``sent`` is False were not sent.
    """
    underlay = channel.underlay
    async with underlay.lock:
        if underlay.is_closed:
            raise ConnectionResetError("the channel was closed")  # its closing has ended all that was registered
        payload: list[bytes] = []
        written: list[PendingPublish] = []
        for item in items:
            item.attempt = next(_attempts)
            try:
                payload.append(encode_publish(item.message, item.attempt, underlay.number, underlay.max_content_size))
            except Exception as error:  # noqa: BLE001 - an encoding error concerns this message only
                item.complete(_not_carried(item, error))
            else:
                written.append(item)
        if not written:
            return
        # Register them before they can be sent: the answer may be read before put() returns.
        before, confirmations = underlay.delivery_tag, _confirmations(underlay)
        for item in written:
            underlay.delivery_tag += 1
            confirmations[underlay.delivery_tag] = item
            underlay.message_id_delivery_tag[item.attempt] = underlay.delivery_tag
            item.channel, item.sent = channel, True
        # The frame's future makes aiormq's writer drain the socket, which gives back-pressure. It is not awaited here.
        frame = abc.ChannelFrame(b"".join(payload), should_close=False, drain_future=underlay.create_future())
        try:
            await underlay.write_queue.put(frame)
        except BaseException:
            # The server has not seen these messages, so the next ones take their sequence numbers.
            underlay.delivery_tag = before
            for tag, item in enumerate(written, before + 1):
                item.sent = False
                confirmations.pop(tag, None)
                underlay.message_id_delivery_tag.pop(item.attempt, None)
            raise


async def write_each(channel: Channel, items: Sequence[PendingPublish]) -> None:
    """Write ``items`` in order, each by ``Exchange.publish()``.

    The fallback of write_many(), by aio-pika's public API. The calls queue for the channel's lock in their order.
    """
    loop = asyncio.get_running_loop()
    for item in items:
        item.channel, item.sent = channel, True
        item.task = loop.create_task(_publish(channel, item), name="msgbus rabbitmq publishing")


async def _publish(channel: Channel, item: PendingPublish) -> None:
    name, key = route(item.message.address)
    try:
        exchange = await channel.get_exchange(name, ensure=False)
        await exchange.publish(to_aio_pika(item.message, next(_attempts)), key, mandatory=True)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        item.complete(_not_carried(item, error))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - reported as the result of this message
        item.ended(item, error)
    else:
        item.ended(item, None)


def _not_carried(item: PendingPublish, error: Exception) -> PublishError:
    return PublishError(f"queue {str(item.message.address)!r}: AMQP cannot carry message {item.message.id}: {error}")
