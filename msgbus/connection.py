"""Connection of a broker: connects once for all callers, repeats calls until a deadline, drains on closing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import retry_if_exception_type

from msgbus.adapter.retrying import Backoff, SeededBackoff, call_repeatedly
from msgbus.adapter.timeouts import cancel_and_wait, wait_for_event
from msgbus.errors import BrokerClosed, BrokerUnavailable
from msgbus.publishing.retry_until_deadline import publish_until_deadline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from random import Random

    from msgbus.adapter import Adapter
    from msgbus.adapter.envelope import Outgoing
    from msgbus.errors import BrokerError

__all__ = ["BrokerConnection"]

CALL_CANCEL_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that a call has to end after it was cancelled."""
_RETRY_BACKOFF: Final = Backoff(first=0.1, most=2.0)
_UNAVAILABLE: Final = retry_if_exception_type((BrokerUnavailable, TimeoutError))
_CLOSED: Final = "the broker was closed while it was connecting"
_T = TypeVar("_T")


class BrokerConnection:
    """The connection of one adapter, shared by all methods of a broker."""

    def __init__(self, adapter: Adapter, deadline: float, random: Random) -> None:
        """Prepare a connection whose calls end after ``deadline`` seconds each. No I/O."""
        self.adapter = adapter
        self._deadline = deadline
        self._backoff = SeededBackoff(_RETRY_BACKOFF, random)
        self._random = random
        self._connected = False
        self._connecting: asyncio.Task[None] | None = None
        self._in_progress = 0
        self._limits: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._over = asyncio.Event()

    async def ensure_connected(self, end: float) -> None:
        """Connect if there is no connection; concurrent callers share one attempt.

        Raises:
            BrokerUnavailable: There is no connection at ``end`` (event loop time).
            AccessRefused: The server refuses the login.
            BrokerClosed: The broker was closed meanwhile.
        """
        if self._connected:
            return
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(end), name="msgbus connecting")
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                raise BrokerClosed(_CLOSED) from None
            raise
        finally:
            if connecting.done() and self._connecting is connecting:
                self._connecting = None
        if not self._connected:  # closed again before this caller had its turn
            raise BrokerClosed(_CLOSED)

    async def call(self, doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of ``call``. Repeat it while the server is unavailable; then raise its last error."""
        end = self.deadline()
        await self.ensure_connected(end)
        return await self._repeat(doing, call, end)

    async def once(self, doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return what ``call`` returns, tried once and without connecting before: its failure is an answer."""
        try:
            async with self._limited(self.deadline()):
                return await call()
        except TimeoutError as error:
            raise BrokerUnavailable(f"{doing}: no answer within {self._deadline:g} s") from error

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[BrokerError | None]:
        """Publish ``messages`` and return one result for each, in order, within the deadline.

        Raises only what :meth:`ensure_connected` raises.
        """
        now = asyncio.get_running_loop().time
        left = self._deadline
        end = now() + left
        if not self._connected:
            await self.ensure_connected(end)
            left = max(end - now(), 0.0)
        self._in_progress += 1
        try:
            results = await self.adapter.publish(messages, left)
            if any(results):
                results = await publish_until_deadline(self.adapter, messages, results, end, self._random, self._over)
            return results
        finally:
            self._ended()

    async def close(self, grace: float) -> None:
        """Close the connection when every publish and call in progress has ended, or after ``grace`` seconds."""
        await cancel_and_wait(self._connecting, timeout=None)
        self._connected = False  # only now: the task may have connected just before
        await self._until_idle(grace)
        self._over.set()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)
        if self._limits:  # a call that went on would connect again
            await self._until_idle(CALL_CANCEL_TIMEOUT_SECONDS)
        await self.adapter.close()

    async def _until_idle(self, seconds: float) -> None:
        self._idle.clear()
        if self._in_progress:
            await wait_for_event(seconds, self._idle)

    def deadline(self) -> float:
        """Return the deadline of a call that begins now, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._deadline

    async def _connect(self, end: float) -> None:
        self._over = asyncio.Event()
        await self._repeat("connecting", self.adapter.connect, end)
        self._connected = True

    async def _repeat(self, doing: str, call: Callable[[], Awaitable[_T]], end: float) -> _T:
        last: Exception | None = None

        async def remembering() -> _T:
            nonlocal last
            try:
                return await call()
            except (BrokerUnavailable, TimeoutError) as error:
                last = error
                raise

        try:
            async with self._limited(end):
                return await call_repeatedly(remembering, wait=self._backoff, retry=_UNAVAILABLE)
        except TimeoutError:
            reason = str(last or "") or "no answer"
            raise BrokerUnavailable(f"{doing}: gave up after {self._deadline:g} s: {reason}") from last

    @asynccontextmanager
    async def _limited(self, end: float) -> AsyncGenerator[None]:
        """End the block at ``end`` with TimeoutError, or with BrokerClosed when the connection is closed."""
        over = self._over
        self._in_progress += 1
        try:
            async with asyncio.timeout_at(end) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if over.is_set():
                raise BrokerClosed(
                    "the broker was closed before the server answered; the call may have had its effect"
                ) from None
            raise
        finally:
            self._ended()

    def _ended(self) -> None:
        self._in_progress -= 1
        if not self._in_progress:
            self._idle.set()
