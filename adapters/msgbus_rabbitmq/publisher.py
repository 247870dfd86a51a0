"""Publishing: one channel with confirms, and what became of each message as its verdict."""

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

from msgbus.errors import AccessRefused, BrokerError, BrokerUnavailable, MessageTooLarge, NoRoute, PublishUnknown
from msgbus.errors import QueueNotFound as Missing
from msgbus_rabbitmq.connection import guarded
from msgbus_rabbitmq.topology import exists
from msgbus_rabbitmq.wire import refused, route
from msgbus_rabbitmq.writing import fits, write_each, write_many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus.message import Outgoing
    from msgbus.names import Address
    from msgbus_rabbitmq.connection import Link
    from msgbus_rabbitmq.writing import Confirmation

__all__ = ["Publisher"]

_SHORT: Final = " (it takes no messages while it is short of memory or disk)"


class Publisher:
    """Publishes over a link; a channel that breaks is replaced at the next call."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Any = None  # aiormq's Channel: its abstract class hides what a batch needs
        self._left: set[Any] = set()
        self._at_once = False
        self._known: set[str] = set()
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter.publish."""
        end = asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(end):
                channel = await self._ready()
                missing = await self._missing({outgoing.address for outgoing in messages})
        except TimeoutError:
            return _all(messages, BrokerUnavailable(f"{self._link.where}: not ready within {timeout:g} s{_SHORT}"))
        except BrokerError as error:
            return _all(messages, error)
        wanted = [outgoing for outgoing in messages if outgoing.address not in missing]
        confirmations = await self._send(channel, wanted, end)
        if pending := [one for one in confirmations if not one.done()]:
            await asyncio.wait(pending, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        if any(_refused(one) for one in confirmations):
            self._leave(channel)
        verdicts = iter(
            [self._verdict(channel, outgoing, one) for outgoing, one in zip(wanted, confirmations, strict=False)]
        )
        return [
            _not_found(outgoing.address) if outgoing.address in missing else next(verdicts, self._unsent(timeout))
            for outgoing in messages
        ]

    async def _ready(self) -> Any:
        """The channel, once the server takes messages (it does not while its memory or disk is short)."""
        async with self._opening:
            if self._channel is None or self._channel.is_closed or not self._link.is_up:
                self._known.clear()
                self._channel = await self._link.channel(confirms=True)
                self._at_once = fits(self._channel)
            await self._close_left()
        channel = self._channel
        with guarded(self._link.where):
            await channel.connection.ready()
        return channel

    def _leave(self, channel: Any) -> None:
        """The next call takes another channel.

        A channel keeps to the leader of a quorum queue that it found at its first publish. Had that one just died, it
        refuses everything until the node is back, while a new channel finds the new leader.
        """
        if self._channel is channel:
            self._channel = None
        self._left.add(channel)

    async def _close_left(self) -> None:
        """Close those on which nobody waits for a confirmation any more."""
        for channel in [one for one in self._left if one.is_closed or not getattr(one, "confirmations", ())]:
            self._left.discard(channel)
            await self._link.leave(channel)

    async def _missing(self, addresses: set[Address]) -> set[Address]:
        """Those without an exchange. Publishing to one would close the channel under everybody's messages."""
        unknown = [one for one in addresses if not one.part and one.queue not in self._known]
        missing = {address for address in unknown if not await exists(self._link, address)}
        self._known.update(address.queue for address in unknown if address not in missing)
        return missing

    async def _send(self, channel: Any, messages: Sequence[Outgoing], end: float) -> list[Confirmation]:
        """Write as many as can be until ``end``, in order; calls queue for the channel in theirs."""
        confirmations: list[Confirmation] = []
        write = write_many if self._at_once else write_each
        try:
            with guarded("publishing"):
                async with asyncio.timeout_at(end):
                    await write(channel, messages, confirmations)
        except BrokerError:
            pass  # the time is over or the channel closed: what is not in the list was not sent
        return confirmations

    def _unsent(self, timeout: float) -> BrokerUnavailable:
        return BrokerUnavailable(f"{self._link.where}: the connection broke or took nothing for {timeout:g} s")

    def _verdict(self, channel: Any, outgoing: Outgoing, confirmation: Confirmation) -> BrokerError | None:
        queue = f"queue {str(outgoing.address)!r}"
        if not confirmation.done() and not channel.is_closed:
            return PublishUnknown(f"{queue}: {self._link.where} did not confirm in time; the message may have arrived")
        error = confirmation.exception() if confirmation.done() and not confirmation.cancelled() else None
        match error:
            case None if confirmation.done() and not confirmation.cancelled():
                return None
            case PublishError():
                return _unroutable(outgoing.address)
            case DeliveryError():
                return BrokerUnavailable(f"{queue}: the server refused it (a group's queue is full or not available)")
        return _blamed(outgoing, error) or BrokerUnavailable(
            f"{queue}: the connection to {self._link.where} broke before the confirmation: {error}", uncertain=True
        )


def _refused(confirmation: Confirmation) -> bool:
    """The server said no to it (basic.nack)."""
    if not confirmation.done() or confirmation.cancelled():
        return False
    error = confirmation.exception()
    return isinstance(error, DeliveryError) and not isinstance(error, PublishError)


def _all(messages: Sequence[Outgoing], error: BrokerError) -> list[BrokerError | None]:
    """A verdict for each: one that is raised twice would collect tracebacks."""
    return [copy.copy(error) for _ in messages]


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
