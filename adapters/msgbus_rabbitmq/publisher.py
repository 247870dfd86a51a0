"""The publisher: one channel with confirms, and a publish result for each message.

    publish() -> (queue known?) -> BatchWriter -> _write() -> write_many() -> server
                  no: _check_queue()                              |
    results <- _ended() <-------- confirm, refusal or return -----+

Messages that are published at the same time are written together (see `aio_pika_internals.batch_publish`).
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Final

from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq.exceptions import ChannelAccessRefused  # aio-pika has no name for it

from msgbus.adapter.batch_writer import BatchWriter
from msgbus.adapter.publish_calls import CallTimeouts, PublishCall
from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, MessageTooLarge, NoRoute, PublishUnknown
from msgbus.errors import QueueNotFound as Missing
from msgbus_rabbitmq.aio_pika_internals.batch_publish import (
    PendingPublish,
    awaits_confirms,
    unconfirmed,
    write_each,
    write_many,
)
from msgbus_rabbitmq.codec import refused, route
from msgbus_rabbitmq.errors import translate_client_errors
from msgbus_rabbitmq.topology import queue_exists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.adapter.address import Address
    from msgbus.adapter.envelope import Outgoing
    from msgbus_rabbitmq.aio_pika_internals import Channel
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["Publisher"]

MAX_BATCH_MESSAGES: Final = 100
"""Most messages in one write."""
MAX_BATCH_BYTES: Final = 128 * 1024
"""Most bytes of bodies in one write. A larger message is written alone."""
_BLOCKED_HINT: Final = " (it takes no messages while it is short of memory or disk)"


class Publisher:
    """Publishes over one connection. The next write after a lost channel opens another."""

    def __init__(self, connection: AmqpConnection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._retired_channels: set[Channel] = set()
        self._limit: asyncio.Timeout | None = None
        """Time limit of the write in progress."""
        self._known: set[str] = set()
        self._checks: dict[Address, list[PendingPublish]] = {}
        self._check_tasks: set[asyncio.Task[None]] = set()
        self._timeouts = CallTimeouts()
        self._writer: BatchWriter[PendingPublish] = BatchWriter(
            name=f"{connection.where}: publishing",
            write=self._write,
            failed=self._failed,
            messages=MAX_BATCH_MESSAGES,
            heaviest=MAX_BATCH_BYTES,
        )

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """Implement :meth:`Adapter.publish`."""
        call = PublishCall(len(messages), asyncio.get_running_loop().time() + timeout)
        items = [PendingPublish(call, place, message, self._ended) for place, message in enumerate(messages)]
        ready: list[PendingPublish] = []
        for item in items:
            if item.message.address.part or item.message.address.queue in self._known:
                ready.append(item)
            else:
                self._hold(item)
        self._writer.add(ready)
        return await self._timeouts.collect_results(call, items, lambda item: self._late(item, timeout))

    async def close(self) -> None:
        """Stop writing; messages that are not written fail as BrokerUnavailable."""
        await self._writer.close()
        for task in self._check_tasks:
            task.cancel()
        if self._check_tasks:
            await asyncio.wait(self._check_tasks, timeout=1.0)

    # Does the queue exist? A publish to a missing exchange closes the channel, and so fails the messages of others.

    def _hold(self, item: PendingPublish) -> None:
        """Hold ``item`` until the server has told whether its queue exists. Messages to other queues are not held."""
        address = item.message.address
        if (waiting := self._checks.get(address)) is not None:
            waiting.append(item)
            return
        self._checks[address] = [item]
        check = asyncio.get_running_loop().create_task(self._check_queue(address), name="msgbus rabbitmq queue check")
        self._check_tasks.add(check)
        check.add_done_callback(self._check_tasks.discard)

    async def _check_queue(self, address: Address) -> None:
        try:
            exists = await queue_exists(self._connection, address)
        except BrokerError as error:
            self._failed(self._checks.pop(address), error)
        except asyncio.CancelledError:
            self._failed(
                self._checks.pop(address),
                BrokerUnavailable(
                    f"{self._connection.where}: msgbus closed the connection before the message was published"
                ),
            )
            raise
        else:
            # Without an await between: messages published from now on are written after those that were held.
            waiting = self._checks.pop(address)
            if exists:
                self._known.add(address.queue)
                self._writer.add(waiting)
            else:
                for item in waiting:
                    item.complete(_not_found(address))

    # Writing.

    async def _write(self, batch: list[PendingPublish]) -> None:
        end = max(item.call.end for item in batch)
        self._limit = limit = asyncio.timeout_at(end)
        try:
            async with limit:
                channel = await self._open_channel()
                with translate_client_errors(f"{self._connection.where}: publishing"):
                    await channel.underlay.connection.ready()  # waits while the server is short of memory or disk
                    wanted = [item for item in batch if not item.call.over]
                    await (write_many if self._connection.support.batch_publish else write_each)(channel, wanted)
        except TimeoutError:
            if limit.when() != end:  # otherwise each call reports its own timeout, with the reason
                self._failed(batch, BrokerUnavailable(f"{self._connection.where}: the connection broke"))
        finally:
            self._limit = None

    async def _open_channel(self) -> Channel:
        """Return the channel; open a new one if the last is closed or retired."""
        if self._channel is None or self._channel.is_closed or not self._connection.is_up:
            self._channel = None
            self._channel = channel = await self._connection.channel(confirms=True)
            channel.underlay.closing.add_done_callback(lambda closing: self._lost(channel, closing))
        if self._retired_channels:
            await self._close_retired()
        return self._channel

    def _lost(self, channel: Channel, closing: asyncio.Future[object]) -> None:
        """End the messages of a closed channel, and check queues again before the next publish."""
        self._known.clear()
        if channel is self._channel and self._limit is not None and not self._limit.expired():
            # The client would wait indefinitely for a lost connection to take what is written.
            self._limit.reschedule(asyncio.get_running_loop().time())
        error = None if closing.cancelled() else closing.exception()
        for item in unconfirmed(channel) if self._connection.support.batch_publish else ():
            item.set_exception(error or ConnectionResetError("the channel was closed"))

    def _retire_channel(self, channel: Channel | None) -> None:
        """Have the next write open another channel.

        On the server, a channel keeps using the leader of a quorum queue that it found at its first publish. If that
        node has died, the channel refuses every message until the node is back. A new channel finds the new leader.
        """
        if self._channel is channel:
            self._channel = None
        if channel is not None:
            self._retired_channels.add(channel)

    async def _close_retired(self) -> None:
        """Close the retired channels on which no confirmation is pending."""
        for channel in [one for one in self._retired_channels if one.is_closed or not awaits_confirms(one)]:
            self._retired_channels.discard(channel)
            await self._connection.close_channel(channel)

    # Results.

    def _ended(self, item: PendingPublish, error: BaseException | None) -> None:
        queue = f"queue {str(item.message.address)!r}"
        if error is None:
            item.complete(None)
        elif isinstance(error, PublishError):
            item.complete(_unroutable(item.message.address))
        elif isinstance(error, DeliveryError):
            self._retire_channel(item.channel)
            item.complete(
                BrokerUnavailable(f"{queue}: the server refused the message (a group's queue is full or not available)")
            )
        else:
            self._known.clear()  # the channel may have been closed because the queue is missing
            item.complete(
                _blamed(item.message, error)
                or BrokerUnavailable(
                    f"{queue}: the connection to {self._connection.where} broke before the confirmation: {error}",
                    uncertain=True,
                )
            )

    def _failed(self, batch: list[PendingPublish], error: Exception) -> None:
        """Complete, with ``error``, the messages of ``batch`` that were not sent. Sent ones are answered or lost."""
        for item in batch:
            if not item.sent:
                item.complete(_copy(error))

    def _late(self, item: PendingPublish, timeout: float) -> BrokerError:
        if not item.sent:
            return BrokerUnavailable(f"{self._connection.where}: not ready within {timeout:g} s{_BLOCKED_HINT}")
        return PublishUnknown(
            f"queue {str(item.message.address)!r}: {self._connection.where} did not confirm within {timeout:g} s; "
            "the message may have arrived"
        )


def _copy(error: Exception) -> BrokerError:
    """Return a copy for each message: an error that is raised twice collects tracebacks."""
    return copy.copy(error) if isinstance(error, BrokerError) else BrokerUnavailable(repr(error))


def _not_found(address: Address) -> Missing:
    return Missing(f"queue {str(address)!r} does not exist: create_queue() makes it")


def _unroutable(address: Address) -> BrokerError:
    if address.part:
        return _not_found(address)
    return NoRoute(
        f"queue {address.queue!r} has no group, and RabbitMQ keeps nothing for later ones: "
        "name them, create_queue(groups=...), or consume first"
    )


def _blamed(outgoing: Outgoing, error: BaseException | None) -> BrokerError | None:
    """Return the error if ``outgoing`` caused the channel to be closed; None for other messages of the channel."""
    exchange, max_bytes = refused(str(error))
    if isinstance(error, ChannelAccessRefused) and exchange == route(outgoing.address)[0]:
        return AccessRefused(f"queue {str(outgoing.address)!r}: {error}")
    if isinstance(error, ChannelPreconditionFailed) and 0 < max_bytes < len(outgoing.body):
        return MessageTooLarge(f"queue {str(outgoing.address)!r}: {error}")
    return None
