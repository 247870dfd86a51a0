"""Implementation and types of the pytest plugin's fixtures; the fixtures themselves are in ``pytest_msgbus``.

``broker`` is a started broker on a memory server of its own; its group is ``test`` by default. The fixtures
``published``, ``handled`` and ``dead_letters`` tell what it did. See docs/how-to/test-a-service.md.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgbus.adapter.url import BrokerURL
from msgbus.broker import Broker
from msgbus.registry import adapter_type
from msgbus.testing.harness import Harness
from msgbus.testing.intercepting_adapter import WatchedAdapter

if TYPE_CHECKING:
    from msgbus.message import Message
    from msgbus.operations.dead_letters import DeadLetter
    from msgbus.testing.assertions import RecordedTraffic
    from msgbus.testing.faults import ServerFaults

__all__ = [
    "DeadLettersOf",
    "Handled",
    "HarnessOf",
    "Published",
    "dead_letters_of",
    "handled_by",
    "harness_maker",
    "watched_broker",
]

HANDLED_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that ``handled()`` waits at most."""
HANDLED_TIMEOUT_VIRTUAL_SECONDS: Final = 3600.0
"""The same in virtual time: four times the 13 minutes in which the default policy gives a message up."""
GROUP: Final = "test"


class HarnessOf(Protocol):
    """The fixture ``harness_of``."""

    def __call__(self, url: str, faults: ServerFaults | None = None) -> Harness:
        """Make a harness for a server.

        Args:
            url: The server's URL.
            faults: Faults that can be injected into this server; none by default.

        Returns:
            The harness, to be entered with ``async with``.
        """
        ...


class Published(Protocol):
    """The fixture ``published``."""

    def __call__(self, queue: str, *bodies: Any) -> list[Message]:
        """Return the messages that were published to a queue, in order.

        Args:
            queue: The name of the queue.
            *bodies: Bodies to look for; without any, return all messages.

        Returns:
            All messages, or one message for each of ``bodies``.

        Raises:
            AssertionError: A body was not published. The text lists what was published instead.
        """
        ...


class Handled(Protocol):
    """The fixture ``handled``."""

    async def __call__(self, queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        """Wait until a group has handled or dead-lettered every message published to a queue, retries included.

        Args:
            queue: The name of the queue.
            group: The group that consumes it.
            within: Seconds to wait at most; default: 5 s, with ``virtual_time`` one hour of virtual time.

        Raises:
            AssertionError: There is no such queue (at once), or no such group, or messages were left after ``within``.
        """
        ...


class DeadLettersOf(Protocol):
    """The fixture ``dead_letters``."""

    async def __call__(self, queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        """Return the dead letters of a queue and group.

        Args:
            queue: The name of the queue that the messages were published to.
            group: The group that gave them up.

        Returns:
            The dead letters, oldest first.
        """
        ...


def watched_broker(notes: RecordedTraffic) -> Broker:
    """Return a broker on a memory server that no other broker uses. It is not started.

    Its time of day advances with the event loop's clock, so with virtual time too.

    Args:
        notes: Records the messages that pass the broker's adapter.
    """
    url = BrokerURL.parse(f"memory://{secrets.token_hex(4)}")
    kind = adapter_type(url.scheme)
    loop = asyncio.get_running_loop()
    began = time.time() - loop.time()
    adapter = WatchedAdapter(kind(url, kind.Options()), notes.passing)
    return Broker(adapter, group=GROUP, clock=lambda: began + loop.time())


def handled_by(notes: RecordedTraffic, *, virtual: bool) -> Handled:
    """Return the fixture ``handled``.

    Args:
        notes: The record of the broker's messages.
        virtual: Whether the test runs in virtual time, in which a long wait costs nothing.
    """
    usual = HANDLED_TIMEOUT_VIRTUAL_SECONDS if virtual else HANDLED_TIMEOUT_SECONDS

    async def handled(queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        await notes.handled(queue, group, usual if within is None else within)

    return handled


def dead_letters_of(broker: Broker) -> DeadLettersOf:
    """Return the fixture ``dead_letters``.

    Args:
        broker: The test's broker.
    """

    async def dead_letters(queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        return [letter async for letter in broker.dead_letters(queue, group=group).look()]

    return dead_letters


def harness_maker(*, large: bool, figures: dict[str, list[str]]) -> HarnessOf:
    """Return the fixture ``harness_of``.

    Args:
        large: Whether cases send as many messages as in a long run.
        figures: Takes the figures that cases measure, by the URL's scheme.
    """

    def harness_of(url: str, faults: ServerFaults | None = None) -> Harness:
        say = figures.setdefault(BrokerURL.parse(url).scheme, []).append
        return Harness(url, large=large, say=say, faults=faults)

    return harness_of
