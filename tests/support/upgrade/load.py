"""What is published during an upgrade: by each operator, at a steady rate, until it is stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.support.upgrade.processes import Operator

__all__ = ["COLOUR", "Load", "Sent"]

EVERY_SECONDS: Final = 0.4
COLOUR: Final = "grün"
"""The text of a header of the publisher's own."""
SECONDS: Final = 0.02
"""What a callback takes."""
SLOW_SECONDS: Final = 0.5
"""What a callback of a slow message takes: some are always in flight when a member is ended."""


@dataclass(frozen=True)
class Sent:
    """One message, and what becomes of it."""

    id: str
    queue: str
    key: str | None
    failures: int = 0
    """How many attempts fail."""
    dead: str = ""
    """Why it is dead-lettered until it is redriven: ``rejected``, ``exhausted``, or not at all."""
    downstream: bool = False
    """Whether it fails while the downstream is off."""
    seconds: float = SECONDS
    delay: float | None = None

    def publication(self) -> dict[str, Any]:
        """Return the arguments of its publish."""
        body = {
            "failures": self.failures,
            "dead": self.dead,
            "downstream": self.downstream,
            "seconds": self.seconds,
        }
        return {
            "body": body,
            "message_id": self.id,
            "key": self.key,
            "headers": {"colour": COLOUR},
            "delay": self.delay,
        }


class Load:
    """Messages of every kind, published by two operators to two queues."""

    def __init__(self, orders: str, payments: str, *, long: bool) -> None:
        """Make a load; ``long``: delays and failures that outlast many exchanges of members."""
        self.sent: dict[str, Sent] = {}
        """All messages that were confirmed, by id."""
        self.troubled = True
        """Whether some wait for long, or are dead-lettered."""
        self._orders = orders
        self._payments = payments
        self._delays = (2.0, 31.0) if long else (2.0, 8.0)
        self._failures = 110 if long else 9
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *operators: Operator) -> None:
        """Let each operator publish from now on."""
        self._tasks = [asyncio.ensure_future(self._run(one)) for one in operators]

    async def stop(self) -> None:
        """Publish no more, and wait for what is in progress."""
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """Give up."""
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Raise what made publishing end."""
        for task in self._tasks:
            if task.done():
                task.result()

    def select(self, **fields: Any) -> set[str]:
        """Return the ids of the confirmed messages with these fields."""
        return {one.id for one in self.sent.values() if all(getattr(one, name) == it for name, it in fields.items())}

    async def _run(self, operator: Operator) -> None:
        for turn in count():
            messages = self._messages(operator.state.name, turn)
            for queue in (self._orders, self._payments):
                some = [one for one in messages if one.queue == queue]
                await operator.publish(queue, [one.publication() for one in some])
                self.sent |= {one.id: one for one in some}
            try:
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._stopped.wait()
            except TimeoutError:
                continue
            return

    def _messages(self, by: str, turn: int) -> list[Sent]:
        orders, payments = self._orders, self._payments
        made = [Sent(f"{by}-fine-{turn}.{n}", orders, f"{by}-{(turn + n) % 7}") for n in range(5)]
        made += [
            Sent(f"{by}-slow-{turn}", orders, f"{by}-slow-{turn % 5}", seconds=SLOW_SECONDS),
            Sent(f"{by}-downstream-{turn}", payments, f"{by}-{turn % 3}", downstream=True),
            Sent(f"{by}-retried-{turn}", orders, f"{by}-{turn % 7}", failures=1 + turn % 2),
        ]
        if not self.troubled:
            return made
        if turn % 3 == 0:
            dead = ("rejected", "exhausted")[turn % 2]
            made.append(Sent(f"{by}-dead-{turn}", orders, f"{by}-{turn % 7}", dead=dead))
        if turn % 3 == 1:
            made.append(Sent(f"{by}-delayed-{turn}", orders, None, delay=self._delays[turn % 2]))
        if turn % 3 == 2:
            made.append(Sent(f"{by}-late-{turn}", orders, f"{by}-{turn % 7}", failures=3))
        if turn % 15 == 2:
            made.append(Sent(f"{by}-persistent-{turn}", payments, None, failures=self._failures))
        return made
