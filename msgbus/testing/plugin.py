"""What the fixtures of the pytest plugin give, and their types. The fixtures stand in ``pytest_msgbus``.

``broker`` is a started broker on a memory of its own, whose group is ``test`` where nothing else is said. What it
published and handled is asked of ``published``, ``handled`` and ``dead_letters``. See docs/testing.md.
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
"""Seconds that handled() waits at most."""
HANDLED_TIMEOUT_VIRTUAL_SECONDS: Final = 3600.0
"""The same in virtual time: four times the 13 minutes in which the default policy gives a message up."""
GROUP: Final = "test"


class HarnessOf(Protocol):
    """The fixture ``harness_of``."""

    def __call__(self, url: str, faults: ServerFaults | None = None) -> Harness:
        """A harness on a URL, and what the server there can be made to suffer."""
        ...


class Published(Protocol):
    """The fixture ``published``."""

    def __call__(self, queue: str, *bodies: Any) -> list[Message]:
        """What was published to ``queue``, in order; with ``bodies`` those, or an AssertionError saying what was."""
        ...


class Handled(Protocol):
    """The fixture ``handled``."""

    async def __call__(self, queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        """Wait until ``group`` has settled all that was published to ``queue``; else AssertionError.

        Settled is handled or dead-lettered, retries included. ``within`` is seconds: 5, or with ``virtual_time`` an
        hour of it.
        """
        ...


class DeadLettersOf(Protocol):
    """The fixture ``dead_letters``."""

    async def __call__(self, queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        """What ``group`` has given up of ``queue``, oldest first."""
        ...


def watched_broker(notes: RecordedTraffic) -> Broker:
    """A broker on a memory of its own, not started; ``notes`` hears of all. Its time of day is the event loop's."""
    url = BrokerURL.parse(f"memory://{secrets.token_hex(4)}")
    kind = adapter_type(url.scheme)
    loop = asyncio.get_running_loop()
    began = time.time() - loop.time()
    adapter = WatchedAdapter(kind(url, kind.Options()), notes.passing)
    return Broker(adapter, group=GROUP, clock=lambda: began + loop.time())


def handled_by(notes: RecordedTraffic, *, virtual: bool) -> Handled:
    """See Handled."""
    usual = HANDLED_TIMEOUT_VIRTUAL_SECONDS if virtual else HANDLED_TIMEOUT_SECONDS

    async def handled(queue: str, *, group: str = GROUP, within: float | None = None) -> None:
        await notes.handled(queue, group, usual if within is None else within)

    return handled


def dead_letters_of(broker: Broker) -> DeadLettersOf:
    """See DeadLettersOf."""

    async def dead_letters(queue: str, *, group: str = GROUP) -> list[DeadLetter]:
        return [letter async for letter in broker.dead_letters(queue, group=group).look()]

    return dead_letters


def harness_maker(*, large: bool, figures: dict[str, list[str]]) -> HarnessOf:
    """See HarnessOf. What cases measure is added to ``figures``, by the URL's scheme."""

    def harness_of(url: str, faults: ServerFaults | None = None) -> Harness:
        say = figures.setdefault(BrokerURL.parse(url).scheme, []).append
        return Harness(url, large=large, say=say, faults=faults)

    return harness_of
