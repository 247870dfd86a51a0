"""What a contender can do: the verbs that every case is made of, in the words of its own library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Handler = Callable[[dict[str, object]], Awaitable[None]]
"""What a case does with the decoded body of each message."""


@dataclass(frozen=True)
class Item:
    """One message: its encoded body, and the key that the body names too."""

    body: bytes
    key: str


@dataclass(frozen=True)
class Place:
    """Where a figure is measured: a queue nobody else uses."""

    url: str
    queue: str
    at_once: int
    """Callbacks that may run at once; 1 is the natural loop of the library."""

    def numbered(self, count: int) -> list[str]:
        """More queues that nobody else uses."""
        return [f"{self.queue}-{number}" for number in range(count)]


class Contender(ABC):
    """One library on one broker, as its manual has it, at least once: acknowledged after the callback."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make the queue with a group, so that everything published from now on is kept for it."""

    @abstractmethod
    async def publish(self, item: Item) -> None:
        """Returns when the server has confirmed it."""

    @abstractmethod
    async def publish_many(self, items: Sequence[Item]) -> None:
        """All, in order, the fastest way the library has; returns when the server has confirmed each."""

    @abstractmethod
    async def consume(self, handler: Handler) -> None:
        """Begin: every message of the queue is decoded once, handled, and acknowledged afterwards. Needs no open()."""

    @abstractmethod
    async def watch(self, queues: Sequence[str], handler: Handler) -> None:
        """Make these queues too, and consume them all with one client; called instead of consume(), after open()."""

    @abstractmethod
    async def stop(self) -> None:
        """End consuming in good order: what was handled is acknowledged when this returns."""

    @abstractmethod
    async def pending(self) -> int:
        """Messages of the group that the server does not know to be acknowledged; called after stop()."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection."""
