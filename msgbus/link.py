"""The way to the server: connected once for all who ask, tried again until a deadline, let go when nobody is on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from msgbus.errors import BrokerClosed, BrokerUnavailable
from msgbus.publishing import publish_again
from msgbus.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.errors import BrokerError
    from msgbus.message import Outgoing

__all__ = ["Link"]

_AGAIN: Final = Backoff(first=0.1, most=2.0)
_T = TypeVar("_T")


class Link:
    """One adapter's connection, as the verbs of a broker share it."""

    def __init__(self, adapter: Adapter, deadline: float, random: Random) -> None:
        """``deadline``: seconds after which every call has ended."""
        self.adapter = adapter
        self._deadline = deadline
        self._random = random
        self._up = False
        self._connecting: asyncio.Task[None] | None = None
        self._publishing = 0
        self._quiet = asyncio.Event()
        self._over = asyncio.Event()

    async def up(self, end: float) -> None:
        """Connect, once for all who ask at the same time.

        Raises what went wrong: BrokerUnavailable at ``end`` (event loop time), AccessRefused at once.
        """
        if self._up:
            return
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(end), name="msgbus connecting")
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                raise BrokerClosed("the broker was closed while it was connecting") from None
            raise
        finally:
            if connecting.done() and self._connecting is connecting:
                self._connecting = None

    async def call(self, doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """What ``call`` returns, tried again while the server is unavailable. Raises what it raised last."""
        end = self.end()
        await self.up(end)
        return await self._repeat(doing, call, end)

    async def once(self, doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """What ``call`` returns, tried once and without connecting before: that it fails is an answer."""
        try:
            async with asyncio.timeout(self._deadline):
                return await call()
        except TimeoutError as error:
            raise BrokerUnavailable(f"{doing}: no answer within {self._deadline:g} s") from error

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        """One verdict for each message, in order, at the deadline. Raises only what up() raises."""
        now = asyncio.get_running_loop().time
        left = self._deadline
        end = now() + left
        if not self._up:
            await self.up(end)
            left = max(end - now(), 0.0)
        self._publishing += 1
        try:
            verdicts = await self.adapter.publish(messages, left)
            if any(verdicts):
                verdicts = await publish_again(self.adapter, messages, verdicts, end, self._random, self._over)
            return verdicts
        finally:
            self._publishing -= 1
            if not self._publishing:
                self._quiet.set()

    async def down(self, grace: float) -> None:
        """Let go, when every publish under way has its verdict or after ``grace`` seconds."""
        self._up = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self._quiet.clear()
        if self._publishing:
            await _at_most(grace, self._quiet.wait())
        self._over.set()
        await self.adapter.close()

    def end(self) -> float:
        """The deadline of what begins now, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._deadline

    async def _connect(self, end: float) -> None:
        await self._repeat("connecting", self.adapter.connect, end)
        self._over = asyncio.Event()
        self._up = True

    async def _repeat(self, doing: str, call: Callable[[], Awaitable[_T]], end: float) -> _T:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            try:
                async with asyncio.timeout_at(end):
                    return await call()
            except (BrokerUnavailable, TimeoutError) as error:
                failures += 1
                pause = _AGAIN.wait(failures, self._random.random())
                if loop.time() + pause >= end:
                    reason = str(error) or "no answer"
                    raise BrokerUnavailable(f"{doing}: gave up after {self._deadline:g} s: {reason}") from error
            await asyncio.sleep(pause)


async def _at_most(seconds: float, waiting: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
