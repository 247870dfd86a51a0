"""The loyalty service: one callback, the same on every broker."""

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


async def _confirm(message: Message) -> None:
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
        till: Callable[[Message], Awaitable[None]] = _confirm,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Prepare the service.

        Args:
            broker: Where purchases come from and awards go to.
            ledger: Where points are written.
            exchange: The prefix of both queues.
            member: The name under which the ledger counts this process.
            till: Called with each purchase; raises when it cannot confirm it.
            retry: The policy for a purchase whose callback fails.
        """
        self._broker = broker
        self._ledger = ledger
        self._exchange = exchange
        self._member = member
        self._till = till
        self._retry = retry

    async def start(self) -> Subscription:
        """Start to consume purchases."""
        return await self._broker.consume(
            PURCHASES, self.on_purchase, group=GROUP, exchange=self._exchange, retry=self._retry
        )

    async def on_purchase(self, message: Message) -> None:
        """Write the points down once, and publish the award every time.

        The process may crash between the two, so a repeated purchase publishes its award again. The award has the same
        id then, by which its consumers recognise it.
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
