"""Publishers that go on through faults of the server, with what was confirmed to them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

from msgbus import BrokerClosed, MsgbusError
from msgbus.testing.probe import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgbus import Broker

MESSAGES_BETWEEN_FAULTS = int(os.environ.get("MSGBUS_TEST_BETWEEN", "300"))
"""Messages confirmed between two faults; more by MSGBUS_TEST_BETWEEN=5000."""
PUBLISHERS = 10
QUEUE_AGE_SECONDS = 10.0
"""Age of a queue at its first kill. RabbitMQ 3.10.8 writes what it knows of a new quorum queue to disk with a delay:
a queue killed in its first second elected no leader afterwards, one of 3 seconds did (seen on an idle machine)."""


class Load:
    """Publishers that continue after errors, and their results."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self._broker = broker
        self._queue = queue
        self._stopped = False
        self.confirmed: list[str] = []
        self.failed: Counter[str] = Counter()
        self._event = asyncio.Event()

    async def publish(self, name: int) -> None:
        number = 0
        while not self._stopped:
            number += 1
            message = f"{name}-{number}"
            try:
                await self._broker.publish(self._queue, b"x", message_id=message, key=str(name))
            except BrokerClosed:
                raise  # the test has failed: publishing on without a wait would never let it end
            except MsgbusError as error:
                self.failed[type(error).__name__] += 1
            else:
                self.confirmed.append(message)
                self._event.set()

    async def until(self, moment: float) -> None:
        """Wait until the event loop's time is ``moment``."""
        while asyncio.get_running_loop().time() < moment:
            await self.until_confirmed(len(self.confirmed) + 1)

    async def until_confirmed(self, count: int) -> None:
        async with within(90, f"{count} confirmed; {len(self.confirmed)} are, failed: {dict(self.failed)}"):
            while len(self.confirmed) < count:
                self._event.clear()
                await self._event.wait()

    def stop(self) -> None:
        self._stopped = True


def disorder(ids: Sequence[str]) -> list[str]:
    """Return the messages that were handled for the first time after a later message of their key."""
    newest: dict[str, int] = {}
    late: list[str] = []
    for one in dict.fromkeys(ids):
        key, _, number = one.partition("-")
        if int(number) < newest.get(key, 0):
            late.append(f"{one} after {key}-{newest[key]}")
        newest[key] = max(newest.get(key, 0), int(number))
    return late
