"""RabbitLetters: a person's walk through a dead-letter queue, by way of one hand that holds it all."""

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
"""Seconds for the fence's confirmation: a server short of memory takes nothing in."""


class RabbitDeadLetterStore(DeadLetterStore):
    """The dead-letter queue ``address``. Looking holds it as well: nobody else sees letters meanwhile.

    The server ends a consumer that holds letters for longer than its ``consumer_timeout``, 30 minutes by default.
    """

    def __init__(
        self,
        link: AmqpConnection,
        publisher: Publisher,
        address: Address,
        closed: Callable[[RabbitDeadLetterStore], None],
    ) -> None:
        """``link`` is this object's own; fences go by ``publisher``; ``closed`` is called at the end."""
        self._connection = link
        self._publisher = publisher
        self._address = address
        self._closed = closed
        self._reader: ExclusiveReader | None = None

    async def count(self) -> tuple[int, bool]:
        """See DeadLetterStore; without letters in hand, what somebody else has is not counted."""
        if self._reader is not None:
            return self._reader.in_flight + await self._reader.ready(), True
        ready, consumers = await declare_passive(self._connection, str(self._address))
        return ready, not consumers

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore; cursors are places in the hand."""
        hand = self._reader if isinstance(after, int) else await self._walk()
        if hand is None:
            raise DeadLetterLockLost(f"queue {self._address}: a walk begins without a cursor")
        found = await hand.read(after if isinstance(after, int) else 0, limit + 1)
        page = [self._delivery(place, delivered) for place, delivered in found[:limit]]
        return page, found[limit][0] if len(found) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See DeadLetterStore; whoever looks has already taken."""
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See DeadLetterStore."""
        if self._reader is None:
            raise DeadLetterLockLost(f"queue {self._address}: its letters are not in hand; take them first")
        await self._reader.remove([one.receipt for one in letters])

    async def close(self) -> None:
        """See DeadLetterStore."""
        hand, self._reader = self._reader, None
        if hand is not None:
            await hand.close()
        await self._connection.close()
        self._closed(self)

    async def _walk(self) -> ExclusiveReader:
        if self._reader is None:
            hand = ExclusiveReader(self._connection, self._address)
            await hand.open()
            self._reader = hand
        fence = secrets.token_hex(8)
        self._reader.expect_end_marker(fence)
        outgoing = Outgoing(self._address, fence, 0, b"", None, {END_MARKER: fence})
        (verdict,) = await self._publisher.publish([outgoing], CONFIRM_TIMEOUT_SECONDS)
        if isinstance(verdict, BrokerUnavailable) and not verdict.uncertain and self._connection.is_up:
            await self._reader.expect_no_end_marker()  # refused: the queue is full, and somebody comes to make room
        elif verdict is not None:
            raise verdict
        return self._reader

    def _delivery(self, place: int, delivered: Delivered) -> Delivery:
        return Delivery(decode_dead_letter(self._address, delivered), self._address, self, place)
