"""RabbitLetters: a person's walk through a dead-letter queue, by way of one hand that holds it all."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgbus.adapter import Letters
from msgbus.adapter.envelope import Delivery, Outgoing
from msgbus.errors import BrokerUnavailable, LettersLost
from msgbus_rabbitmq.codec import FENCE, letter
from msgbus_rabbitmq.exclusive_reader import Hand
from msgbus_rabbitmq.topology import passive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from msgbus.adapter.address import Address
    from msgbus_rabbitmq.amqp_frames import Delivered
    from msgbus_rabbitmq.connection.connection import Link
    from msgbus_rabbitmq.publisher import Publisher

__all__ = ["RabbitLetters"]

CONFIRM: Final = 30.0
"""Seconds for the fence's confirmation: a server short of memory takes nothing in."""


class RabbitLetters(Letters):
    """The dead-letter queue ``address``. Looking holds it as well: nobody else sees letters meanwhile.

    The server ends a consumer that holds letters for longer than its ``consumer_timeout``, 30 minutes by default.
    """

    def __init__(
        self, link: Link, publisher: Publisher, address: Address, closed: Callable[[RabbitLetters], None]
    ) -> None:
        """``link`` is this object's own; fences go by ``publisher``; ``closed`` is called at the end."""
        self._link = link
        self._publisher = publisher
        self._address = address
        self._closed = closed
        self._hand: Hand | None = None

    async def count(self) -> tuple[int, bool]:
        """See Letters; without letters in hand, what somebody else has is not counted."""
        if self._hand is not None:
            return self._hand.held + await self._hand.ready(), True
        ready, consumers = await passive(self._link, str(self._address))
        return ready, not consumers

    async def look(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters; cursors are places in the hand."""
        hand = self._hand if isinstance(after, int) else await self._walk()
        if hand is None:
            raise LettersLost(f"queue {self._address}: a walk begins without a cursor")
        found = await hand.some(after if isinstance(after, int) else 0, limit + 1)
        page = [self._delivery(place, delivered) for place, delivered in found[:limit]]
        return page, found[limit][0] if len(found) > limit else None

    async def take(self, after: Hashable | None, limit: int) -> tuple[Sequence[Delivery], Hashable | None]:
        """See Letters; whoever looks has already taken."""
        return await self.look(after, limit)

    async def remove(self, letters: Sequence[Delivery]) -> None:
        """See Letters."""
        if self._hand is None:
            raise LettersLost(f"queue {self._address}: its letters are not in hand; take them first")
        await self._hand.remove([one.receipt for one in letters])

    async def close(self) -> None:
        """See Letters."""
        hand, self._hand = self._hand, None
        if hand is not None:
            await hand.close()
        await self._link.close()
        self._closed(self)

    async def _walk(self) -> Hand:
        if self._hand is None:
            hand = Hand(self._link, self._address)
            await hand.open()
            self._hand = hand
        fence = secrets.token_hex(8)
        self._hand.expect(fence)
        outgoing = Outgoing(self._address, fence, 0, b"", None, {FENCE: fence})
        (verdict,) = await self._publisher.publish([outgoing], CONFIRM)
        if isinstance(verdict, BrokerUnavailable) and not verdict.uncertain and self._link.is_up:
            await self._hand.expect_no_fence()  # refused: the queue is full, and somebody comes to make room
        elif verdict is not None:
            raise verdict
        return self._hand

    def _delivery(self, place: int, delivered: Delivered) -> Delivery:
        return Delivery(letter(self._address, delivered), self._address, self, place)
