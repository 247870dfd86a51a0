"""Base for tests of an adapter without the core: a server of their own that can be killed, and new queues."""

from __future__ import annotations

import itertools
import secrets
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from msgbus.adapter.address import Address
from tests.support.servers.fixtures import or_skip
from tests.support.servers.native import NativeServer, start_native

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from msgbus.errors import BrokerError

GROUP = "g"


@contextmanager
def own_server(name: str, **settings: str) -> Iterator[NativeServer]:
    """To be killed, paused and kept small."""
    server = or_skip(lambda: start_native(name, settings=settings))
    try:
        yield server
    finally:
        server.resume()
        server.stop()


class Listener:
    """The core's side, as little as there is."""

    def __init__(self) -> None:
        self.sessions: list[Hashable] = []
        self.ended: list[Hashable] = []
        self.fenced: list[Hashable] = []
        self.refused: dict[Address, BrokerError] = {}
        self.drain: Any = None

    def begun(self, session: Hashable) -> None:
        self.sessions.append(session)

    async def ending(self, sessions: Sequence[Hashable], budget: float) -> None:
        del budget
        self.ended += sessions
        if self.drain is not None:
            await self.drain()

    def lost(self, sessions: Sequence[Hashable]) -> None:
        self.fenced += sessions

    def queue_refused(self, address: Address, error: BrokerError) -> None:
        self.refused[address] = error


class AdapterBench:
    """The adapters of one test are closed with its ``stack``."""

    def __init__(self, server: NativeServer) -> None:
        self.server = server
        self.stack = AsyncExitStack()
        self._run = secrets.token_hex(4)
        self._names = itertools.count()
        self._ids = itertools.count()

    def address(self) -> Address:
        return Address(f"q{self._run}-{next(self._names)}")
