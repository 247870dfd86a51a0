"""Contender: the methods that every case is made of, implemented by each library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Handler = Callable[[dict[str, object]], Awaitable[None]]
"""A case's callback for the decoded body of each message."""


@dataclass(frozen=True)
class Item:
    """One message: its encoded body, and the key, which the body contains as well."""

    body: bytes
    key: str


@dataclass(frozen=True)
class Place:
    """Where a figure is measured: a queue of its own."""

    url: str
    queue: str
    at_once: int
    """Callbacks that may run at once; 1 is the library's own loop."""

    def numbered(self, count: int) -> list[str]:
        """Return more queues of its own."""
        return [f"{self.queue}-{number}" for number in range(count)]


class Contender(ABC):
    """One library on one broker, used as its manual says, at least once: acknowledged after the callback."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create the queue with a group that gets everything published from now on."""

    @abstractmethod
    async def publish(self, item: Item) -> None:
        """Publish one message; return when the server has confirmed it."""

    @abstractmethod
    async def publish_many(self, items: Sequence[Item]) -> None:
        """Publish messages in order by the library's fastest way; return when the server has confirmed each."""

    @abstractmethod
    async def consume(self, handler: Handler) -> None:
        """Start to consume: decode each message once, handle it, then acknowledge it. Needs no open()."""

    @abstractmethod
    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        """Create more queues and consume them all by one client; called instead of consume(), after open()."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop consuming; what was handled is acknowledged when this returns."""

    @abstractmethod
    async def pending(self) -> int:
        """Count the messages that the group has not acknowledged; called after stop()."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""
