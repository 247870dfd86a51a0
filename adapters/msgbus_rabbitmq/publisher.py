"""Publishing: one channel with confirms, and what became of each message as its verdict.

Messages that are published at the same time go out in one write (see `writing`).
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any, Final

from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)

from msgbus.adapter.batch_writer import BatchWriter
from msgbus.adapter.publish_calls import CallTimeouts, PublishCall
from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, MessageTooLarge, NoRoute, PublishUnknown
from msgbus.errors import QueueNotFound as Missing
from msgbus_rabbitmq.aiormq_internals.batch_publish import (
    PendingPublish,
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
    from msgbus_rabbitmq.connection.connection import AmqpConnection

__all__ = ["Publisher"]

MAX_BATCH_MESSAGES: Final = 100
"""Most messages of one write."""
MAX_BATCH_BYTES: Final = 128 * 1024
"""A write is full when it has so many; a larger message goes alone."""
_SHORT: Final = " (it takes no messages while it is short of memory or disk)"


class Publisher:
    """Publishes over a link; a channel that breaks is replaced at the next write."""

    def __init__(self, link: AmqpConnection) -> None:
        self._connection = link
        self._channel: Any = None  # aiormq's Channel: its abstract class hides what a batch needs
        self._retired_channels: set[Any] = set()
        self._limit: asyncio.Timeout | None = None
        """Of the write under way."""
        self._known: set[str] = set()
        self._checks: dict[Address, list[PendingPublish]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._timeouts = CallTimeouts()
        self._writer: BatchWriter[PendingPublish] = BatchWriter(
            name=f"{link.where}: publishing",
            write=self._write,
            failed=self._failed,
            messages=MAX_BATCH_MESSAGES,
            heaviest=MAX_BATCH_BYTES,
        )

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter.publish."""
        call = PublishCall(len(messages), asyncio.get_running_loop().time() + timeout)
        items = [PendingPublish(call, place, message, self._ended) for place, message in enumerate(messages)]
        there: list[PendingPublish] = []
        for item in items:
            if item.message.address.part or item.message.address.queue in self._known:
                there.append(item)
            else:
                self._ask(item)
        self._writer.add(there)
        return await self._timeouts.collect_results(call, items, lambda item: self._late(item, timeout))

    async def close(self) -> None:
        """Write nothing more; what waits fails."""
        await self._writer.close()
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking, timeout=1.0)

    # Which queues exist: publishing to an exchange that is missing would close the channel under everybody's messages.

    def _ask(self, item: PendingPublish) -> None:
        """Keep ``item`` until the server has said whether its queue exists; others go on meanwhile."""
        address = item.message.address
        if (waiting := self._checks.get(address)) is not None:
            waiting.append(item)
            return
        self._checks[address] = [item]
        asking = asyncio.get_running_loop().create_task(self._check_queue(address), name="msgbus rabbitmq looking")
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _check_queue(self, address: Address) -> None:
        try:
            there = await queue_exists(self._connection, address)
        except BrokerError as error:
            self._failed(self._checks.pop(address), error)
        except asyncio.CancelledError:
            self._failed(
                self._checks.pop(address), BrokerUnavailable(f"{self._connection.where}: the connection was closed")
            )
            raise
        else:
            # In one step: whoever publishes from now on comes behind those who have waited.
            waiting = self._checks.pop(address)
            if there:
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
                channel = await self._fresh()
                with translate_client_errors(f"{self._connection.where}: publishing"):
                    await channel.connection.ready()  # it is not while the server is short of memory or disk
                    wanted = [item for item in batch if not item.call.over]
                    await (write_many if self._connection.support.batch_publish else write_each)(channel, wanted)
        except TimeoutError:
            if limit.when() != end:  # else each call is late by itself, and knows more about why
                self._failed(batch, BrokerUnavailable(f"{self._connection.where}: the connection broke"))
        finally:
            self._limit = None

    async def _fresh(self) -> Any:
        """The channel: a new one where the last is closed or was left."""
        if self._channel is None or self._channel.is_closed or not self._connection.is_up:
            self._channel = None
            self._channel = channel = await self._connection.channel(confirms=True)
            channel.closing.add_done_callback(lambda closing: self._lost(channel, closing))
        if self._retired_channels:
            await self._close_retired()
        return self._channel

    def _lost(self, channel: Any, closing: asyncio.Future[Any]) -> None:
        """The channel is closed: nothing more is confirmed on it, and queues may be gone when there is another."""
        self._known.clear()
        if channel is self._channel and self._limit is not None and not self._limit.expired():
            # The client would wait for ever until a connection that is gone takes what is written to it.
            self._limit.reschedule(asyncio.get_running_loop().time())
        error = None if closing.cancelled() else closing.exception()
        for item in unconfirmed(channel) if self._connection.support.batch_publish else ():
            item.set_exception(error or ConnectionResetError("the channel was closed"))

    def _retire_channel(self, channel: Any) -> None:
        """The next write takes another channel.

        A channel keeps to the leader of a quorum queue that it found at its first publish. Had that one just died, it
        refuses everything until the node is back, while a new channel finds the new leader.
        """
        if self._channel is channel:
            self._channel = None
        self._retired_channels.add(channel)

    async def _close_retired(self) -> None:
        """Close those on which nobody waits for a confirmation any more."""
        for channel in [
            one for one in self._retired_channels if one.is_closed or not getattr(one, "confirmations", ())
        ]:
            self._retired_channels.discard(channel)
            await self._connection.close_channel(channel)

    # Verdicts.

    def _ended(self, item: PendingPublish, error: BaseException | None) -> None:
        queue = f"queue {str(item.message.address)!r}"
        if error is None:
            item.complete(None)
        elif isinstance(error, PublishError):
            item.complete(_unroutable(item.message.address))
        elif isinstance(error, DeliveryError):
            self._retire_channel(item.channel)
            item.complete(
                BrokerUnavailable(f"{queue}: the server refused it (a group's queue is full or not available)")
            )
        else:
            self._known.clear()  # its queue may be why the channel was closed
            item.complete(
                _blamed(item.message, error)
                or BrokerUnavailable(
                    f"{queue}: the connection to {self._connection.where} broke before the confirmation: {error}",
                    uncertain=True,
                )
            )

    def _failed(self, batch: list[PendingPublish], error: Exception) -> None:
        """What of these was not sent will not be; what was sent has its own end."""
        for item in batch:
            if not item.sent:
                item.complete(_copy(error))

    def _late(self, item: PendingPublish, timeout: float) -> BrokerError:
        if not item.sent:
            return BrokerUnavailable(f"{self._connection.where}: not ready within {timeout:g} s{_SHORT}")
        return PublishUnknown(
            f"queue {str(item.message.address)!r}: {self._connection.where} did not confirm in time; the message may "
            "have arrived"
        )


def _copy(error: Exception) -> BrokerError:
    """For each message its own: one that is raised twice would collect tracebacks."""
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
    """What is this message's own fault when the channel was closed; the others of the channel only met it."""
    exchange, most = refused(str(error))
    if isinstance(error, ChannelAccessRefused) and exchange == route(outgoing.address)[0]:
        return AccessRefused(f"queue {str(outgoing.address)!r}: {error}")
    if isinstance(error, ChannelPreconditionFailed) and 0 < most < len(outgoing.body):
        return MessageTooLarge(f"queue {str(outgoing.address)!r}: {error}")
    return None
