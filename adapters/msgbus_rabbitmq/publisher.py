"""Publishing: persistent, mandatory, and done when the confirm has come. One channel, many messages in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiormq.exceptions import DeliveryError
from aiormq.exceptions import PublishError as Returned

from msgbus.errors import BrokerError, BrokerUnavailable, NoRoute, PublishUnknown, QueueNotFound
from msgbus_rabbitmq.topology import exists
from msgbus_rabbitmq.wire import properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiormq.abc import AbstractChannel

    from msgbus.message import Outgoing
    from msgbus.names import Address
    from msgbus_rabbitmq.connection import Link

__all__ = ["Publisher"]


class Publisher:
    """Publishes on a channel of its own, made again when it has died."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._there: set[Address] = set()

    async def publish(self, messages: Sequence[Outgoing], timeout: float) -> Sequence[BrokerError | None]:
        """See Adapter."""
        end = asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(end):
                channel = await self._open()
                missing = await self._missing({message.address for message in messages})
        except TimeoutError:
            return [BrokerUnavailable(f"{self._link.where}: no answer")] * len(messages)
        except BrokerError as error:
            return [error] * len(messages)
        # Tasks begin in this order, and the channel's lock is first come, first served: so is the wire.
        calls = [
            None if message.address in missing else asyncio.ensure_future(self._publish(channel, message))
            for message in messages
        ]
        try:
            await _all([call for call in calls if call is not None], end)
        finally:
            for call in calls:
                if call is not None:
                    call.cancel()
        return [_verdict(message, call) for message, call in zip(messages, calls, strict=True)]

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._there.clear()
                self._channel = await self._link.channel(confirms=True)
            return self._channel

    async def _missing(self, asked: set[Address]) -> set[Address]:
        """Those that do not exist. Asked once per channel: publishing to one would close it, with all in flight."""
        missing: set[Address] = set()
        for address in asked - self._there:
            if await exists(self._link, address):
                self._there.add(address)
            else:
                missing.add(address)
        return missing

    async def _publish(self, channel: AbstractChannel, message: Outgoing) -> BrokerError | None:
        address = message.address
        try:
            await channel.basic_publish(
                message.body,
                exchange="" if address.part else address.queue,
                routing_key=str(address),
                properties=properties(message),
                mandatory=True,
            )
        except Returned:
            return _unroutable(address)
        except DeliveryError:
            return BrokerUnavailable(f"queue {str(address)!r}: RabbitMQ refused the message for now: a queue is full")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._gone(address, "the connection was given up")  # the client's own, not ours
        except Exception as error:  # noqa: BLE001 - whatever the client raises when a connection breaks
            return self._gone(address, str(error) or type(error).__name__)
        return None

    def _gone(self, address: Address, why: str) -> BrokerUnavailable:
        self._there.discard(address)
        return BrokerUnavailable(f"queue {str(address)!r}: {self._link.where} is gone: {why}", uncertain=True)


async def _all(calls: list[asyncio.Future[Any]], end: float) -> None:
    if calls:
        await asyncio.wait(calls, timeout=max(end - asyncio.get_running_loop().time(), 0))


def _unroutable(address: Address) -> BrokerError:
    if address.part:
        return QueueNotFound(f"queue {str(address)!r} does not exist: create_queue() makes it")
    return NoRoute(f"queue {str(address)!r} has no group yet, so nobody would get the message: create_queue(groups=…)")


def _verdict(message: Outgoing, call: asyncio.Future[BrokerError | None] | None) -> BrokerError | None:
    if call is None:
        return QueueNotFound(f"queue {str(message.address)!r} does not exist: create_queue() makes it")
    if not call.done() or call.cancelled():
        return PublishUnknown(f"queue {str(message.address)!r}: message {message.id} was not confirmed in time")
    return call.result()
