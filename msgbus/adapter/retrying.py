"""Loops that wait and try again, by tenacity.

tenacity is entered after a first failure only: for a call that succeeds it would cost 27 us.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_never

from msgbus.backoff import Backoff, SeededBackoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity.retry import retry_base
    from tenacity.stop import stop_base
    from tenacity.wait import wait_base

__all__ = ["Backoff", "SeededBackoff", "call_repeatedly", "wait_until"]

_T = TypeVar("_T")


class NotYet(Exception):
    """What is waited for is not so yet."""


async def call_repeatedly(
    call: Callable[[], Awaitable[_T]], *, wait: wait_base, retry: retry_base, stop: stop_base = stop_never
) -> _T:
    """Return what ``call`` returns; repeat it while it raises what ``retry`` says.

    The strategies are tenacity's. Those that read a clock (``stop_after_delay``) read the real one; put a deadline
    around the call by ``asyncio.timeout_at()`` instead.

    Args:
        call: Called once, and again after each failure that counts.
        wait: Seconds before each further call.
        retry: Which errors count.
        stop: When to end although the last call failed: what it raised is raised then.
    """
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - `retry` decides; what it does not want is raised again
        first = [error]

    async def resumed() -> _T:
        if first:
            raise first.pop()  # the try that was made already: tenacity counts it, and waits
        return await call()

    retrying = AsyncRetrying(sleep=asyncio.sleep, wait=wait, retry=retry, stop=stop, reraise=True)
    return await retrying(resumed)


async def wait_until(check: Callable[[], Awaitable[bool]], *, wait: wait_base) -> None:
    """Call ``check`` until it returns True: for what a server does not announce.

    Args:
        check: Returns whether to stop waiting.
        wait: The wait strategy between two calls, in seconds.
    """

    async def checked() -> None:
        if not await check():
            raise NotYet

    await call_repeatedly(checked, wait=wait, retry=retry_if_exception_type(NotYet))
