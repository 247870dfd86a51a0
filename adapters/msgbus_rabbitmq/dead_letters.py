"""The dead-letter store of RabbitMQ: a walk through a dead-letter queue, by an `ExclusiveReader`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgbus.adapter import DeadLetterStore
from msgbus.adapter.envelope import Delivery, Outgoing
from msgbus.errors import BrokerUnavailable, DeadLetterLockLost
from msgbus_rabbitmq.codec import END_MARKER, decode_dead_letter
from msgbus_rabbitmq.exclusive_reader import ExclusiveReader
from msgbus_rabbitmq.topology import declare_passive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import AmqpConnection
    from msgbus_rabbitmq.publisher import Publisher

__all__ = ["RabbitDeadLetterStore"]

CONFIRM_TIMEOUT_SECONDS: Final = 30.0
"""Seconds to wait until the end marker is confirmed: a server short of memory takes no publishes."""


class RabbitDeadLetterStore(DeadLetterStore):
    """Dead letters of the queue ``address``, under the dead-letter lock.

    look() takes the lock as take() does, so no other reader sees dead letters meanwhile. The server ends the consumer
    after its ``consumer_timeout``, 30 minutes by default.
    """

    def __init__(
        self,
        connection: AmqpConnection,
        publisher: Publisher,
        address: Address,
        on_closed: Callable[[RabbitDeadLetterStore], None],
    ) -> None:
        """Prepare a store.

        Args:
            connection: A connection for this object only; close() closes it.
            publisher: Publishes the end markers.
            address: The dead-letter queue.
            on_closed: Is called at the end of close().
        """
        self._connection = connection
        self._publisher = publisher
        self._address = address
        self._on_closed = on_closed
        self._reader: ExclusiveReader | None = None

    async def count(self) -> tuple[int, bool]:
        """Implement :meth:`DeadLetterStore.count`.

        Without the lock, dead letters of another lock holder are not counted.
        """
        if self._reader is not None:
            return self._reader.in_flight + await self._reader.ready(), True
        ready, consumers = await declare_passive(self._connection, str(self._address))
        return ready, not consumers

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.look`. Cursors are places of the ExclusiveReader."""
        reader = self._reader if isinstance(after, int) else await self._walk()
        if reader is None:
            raise DeadLetterLockLost(f"queue {self._address}: unknown cursor; begin without one")
        found = await reader.read(after if isinstance(after, int) else 0, limit + 1)
        page = [self._delivery(place, delivered) for place, delivered in found[:limit]]
        return page, found[limit][0] if len(found) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """Implement :meth:`DeadLetterStore.take`. look() has taken the lock already."""
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """Implement :meth:`DeadLetterStore.remove`."""
        if self._reader is None:
            raise DeadLetterLockLost(
                f"queue {self._address}: cannot remove dead letters: the lock is not held; take() them first"
            )
        await self._reader.remove([one.receipt for one in letters])

    async def close(self) -> None:
        """Implement :meth:`DeadLetterStore.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        await self._connection.close()
        self._on_closed(self)

    async def _walk(self) -> ExclusiveReader:
        if self._reader is None:
            reader = ExclusiveReader(self._connection, self._address)
            await reader.open()
            self._reader = reader
        marker = secrets.token_hex(8)
        self._reader.expect_end_marker(marker)
        outgoing = Outgoing(self._address, marker, 0, b"", None, {END_MARKER: marker})
        (result,) = await self._publisher.publish([outgoing], CONFIRM_TIMEOUT_SECONDS)
        if isinstance(result, BrokerUnavailable) and not result.uncertain and self._connection.is_up:
            # The full queue has refused it, and this walk may be there to make room.
            await self._reader.expect_no_end_marker()
        elif result is not None:
            raise result
        return self._reader

    def _delivery(self, place: int, delivered: Delivered) -> Delivery:
        return Delivery(decode_dead_letter(self._address, delivered), self._address, self, place)
