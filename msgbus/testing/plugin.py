"""The pytest plugin: a service is tested in milliseconds, without a server. Needs the extra ``testing``.

It is loaded by those who ask for it, with ``-p msgbus.testing.plugin`` or ``pytest_plugins`` in a conftest.py.
``broker`` is a started broker on a memory of its own, whose group is ``test`` where nothing else is said. What it
published and handled is asked of ``published``, ``handled`` and ``dead_letters``. See docs/testing.md.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
import pytest_asyncio

from msgbus.broker import Broker
from msgbus.registry import adapter_type
from msgbus.testing.notes import Notes
from msgbus.testing.wrapping import WatchedAdapter
from msgbus.url import BrokerURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgbus.letter import Letter
    from msgbus.message import Message

__all__ = ["DeadLettersOf", "Handled", "Published"]

WITHIN: Final = 5.0
"""Seconds that handled() waits at most."""
GROUP: Final = "test"


class Published(Protocol):
    """The fixture ``published``."""

    def __call__(self, queue: str, *bodies: Any) -> list[Message]:
        """What was published to ``queue``, in order; with ``bodies`` those, or an AssertionError saying what was."""
        ...


class Handled(Protocol):
    """The fixture ``handled``."""

    async def __call__(self, queue: str, *, group: str = GROUP, within: float = WITHIN) -> None:
        """Wait until ``group`` has settled all that was published to ``queue``; AssertionError after ``within`` s.

        Settled is handled or dead-lettered, retries included: give the service a RetryPolicy without long delays.
        """
        ...


class DeadLettersOf(Protocol):
    """The fixture ``dead_letters``."""

    async def __call__(self, queue: str, *, group: str = GROUP) -> list[Letter]:
        """What ``group`` has given up of ``queue``, oldest first."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """The size of the contract suite's cases."""
    parser.getgroup("msgbus").addoption(
        "--contract-size", choices=("small", "large"), default="small", help="messages of a case of msgbus's contract"
    )


@pytest.fixture
def msgbus_notes() -> Notes:
    """What the broker's adapter let pass."""
    return Notes()


@pytest_asyncio.fixture
async def broker(msgbus_notes: Notes) -> AsyncIterator[Broker]:
    """A started broker on a memory of its own."""
    url = BrokerURL.parse(f"memory://{secrets.token_hex(4)}")
    kind = adapter_type(url.scheme)
    async with Broker(WatchedAdapter(kind(url, kind.Options()), msgbus_notes.passing), group=GROUP) as broker:
        yield broker


@pytest.fixture
def published(msgbus_notes: Notes) -> Published:
    """What was published; see Published."""
    return msgbus_notes.published


@pytest.fixture
def handled(msgbus_notes: Notes) -> Handled:
    """Waits until all is handled; see Handled."""

    async def handled(queue: str, *, group: str = GROUP, within: float = WITHIN) -> None:
        await msgbus_notes.handled(queue, group, within)

    return handled


@pytest.fixture
def dead_letters(broker: Broker) -> DeadLettersOf:
    """What was given up; see DeadLettersOf."""

    async def dead_letters(queue: str, *, group: str = GROUP) -> list[Letter]:
        return [letter async for letter in broker.dead_letters(queue, group=group).look()]

    return dead_letters
