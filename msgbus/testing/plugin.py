"""Implementation and types of the pytest plugin's fixtures; the fixtures themselves are in ``pytest_msgbus``.

``broker`` is a started broker on a memory server of its own; its group is ``test`` by default. The fixtures
``published``, ``handled`` and ``dead_letters`` tell what it did. See docs/testing.md.
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
"""How long ``handled()`` waits at most."""
HANDLED_TIMEOUT_VIRTUAL_SECONDS: Final = 3600.0
"""The same in virtual time: four times the 13 minutes in which the default policy gives a message up."""
GROUP: Final = "test"


class HarnessOf(Protocol):
    """The fixture ``harness_of``."""

    def __call__(self, url: str, faults: ServerFaults | None = None) -> Harness:
        """Make a harness for the server at ``url``; ``faults`` are those that can be injected into it."""
        ...


class Published(Protocol):
    """The fixture ``published``."""

    def __call__(self, queue: str, *bodies: Any) -> list[Message]:
        """Return what was published to ``queue``, in order.

        With ``bodies``, return those messages; AssertionError, with what was published instead, if any is missing.
        """
        ...


class Handled(Protocol):
    """The fixture ``handled``."""

    async def __call__(self, queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        """Wait until ``group`` has handled or dead-lettered everything published to ``queue``, retries included.

        Raises AssertionError after ``within`` seconds, and at once where there is no such queue. Default: 5 s, with
        ``virtual_time`` one hour of virtual time.
        """
        ...


class DeadLettersOf(Protocol):
    """The fixture ``dead_letters``."""

    async def __call__(self, queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        """Return the dead letters of ``group`` in ``queue``, oldest first."""
        ...


def watched_broker(notes: RecordedTraffic) -> Broker:
    """Make a broker on a memory server of its own, not started; ``notes`` records its traffic.

    Its time of day advances with the event loop's clock, so with virtual time too.
    """
    url = BrokerURL.parse(f"memory://{secrets.token_hex(4)}")
    kind = adapter_type(url.scheme)
    loop = asyncio.get_running_loop()
    began = time.time() - loop.time()
    adapter = WatchedAdapter(kind(url, kind.Options()), notes.passing)
    return Broker(adapter, group=GROUP, clock=lambda: began + loop.time())


def handled_by(notes: RecordedTraffic, *, virtual: bool) -> Handled:
    """Implement :meth:`Handled.handled_by`."""
    usual = HANDLED_TIMEOUT_VIRTUAL_SECONDS if virtual else HANDLED_TIMEOUT_SECONDS

    async def handled(queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        await notes.handled(queue, group, usual if within is None else within)

    return handled


def dead_letters_of(broker: Broker) -> DeadLettersOf:
    """Implement :meth:`DeadLettersOf.dead_letters_of`."""

    async def dead_letters(queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        return [letter async for letter in broker.dead_letters(queue, group=group).look()]

    return dead_letters


def harness_maker(*, large: bool, figures: dict[str, list[str]]) -> HarnessOf:
    """Implement :meth:`HarnessOf.harness_maker`.

    Figures that cases measure are added to ``figures``, by the URL's scheme.
    """

    def harness_of(url: str, faults: ServerFaults | None = None) -> Harness:
        say = figures.setdefault(BrokerURL.parse(url).scheme, []).append
        return Harness(url, large=large, say=say, faults=faults)

    return harness_of
