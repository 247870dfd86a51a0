"""The notification service: one callback, the same on every broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from examples.loyalty.service import AWARDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.notification.outbox import Outbox
    from msgbus import Broker, Message, Subscription

__all__ = ["GROUP", "Notification"]

GROUP: Final = "notification"


def _ignore() -> None:
    return


class Notification:
    """Writes one message per award."""

    def __init__(self, broker: Broker, outbox: Outbox, exchange: str, *, written: Callable[[], None] = _ignore) -> None:
        """Prepare the service; ``written`` is called after each new message."""
        self._broker = broker
        self._outbox = outbox
        self._exchange = exchange
        self._written = written

    async def start(self) -> Subscription:
        """Start to consume awards."""
        return await self._broker.consume(AWARDS, self.on_award, group=GROUP, exchange=self._exchange)

    async def on_award(self, message: Message) -> None:
        """Write a message to the customer, unless this award has one already."""
        if self._outbox.write(message.id, str(message.key), message.json()["points"]):
            self._written()
