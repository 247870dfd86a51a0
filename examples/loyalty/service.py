"""The service: one callback, the same on every broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from examples.loyalty.points import points_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from examples.loyalty.ledger import Ledger
    from msgbus import Broker, Message, RetryPolicy, Subscription

__all__ = ["AWARDS", "GROUP", "PURCHASES", "Loyalty"]

PURCHASES: Final = "purchases"
AWARDS: Final = "points-awarded"
GROUP: Final = "loyalty"


async def _anyway(message: Message) -> None:
    del message


class Loyalty:
    """Turns purchases into points and publishes each award."""

    def __init__(  # noqa: PLR0913 - by keyword
        self,
        broker: Broker,
        ledger: Ledger,
        exchange: str,
        *,
        member: str = "",
        till: Callable[[Message], Awaitable[None]] = _anyway,
        retry: RetryPolicy | None = None,
    ) -> None:
        """``till`` is asked about each purchase and raises when it cannot confirm it; ``retry`` says what then."""
        self._broker = broker
        self._ledger = ledger
        self._exchange = exchange
        self._member = member
        self._till = till
        self._retry = retry

    async def start(self) -> Subscription:
        """Consume purchases."""
        return await self._broker.consume(
            PURCHASES, self.on_purchase, group=GROUP, exchange=self._exchange, retry=self._retry
        )

    async def on_purchase(self, message: Message) -> None:
        """Write the points down once, and publish the award every time.

        A crash may come between the two, so a repeated purchase publishes its award again: under the same id, which
        those who get it recognise.
        """
        await self._till(message)
        customer, points = str(message.key), points_for(message.json()["cents"])
        self._ledger.award(message.id, customer, points, self._member)
        await self._broker.publish(
            AWARDS,
            {"customer": customer, "points": points},
            message_id=f"award-{message.id}",
            key=customer,
            exchange=self._exchange,
        )
